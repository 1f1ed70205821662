// libpq as Swift can call it: character macros become functions.
#pragma once
#include <libpq-fe.h>

static inline const char *culvert_PQ_sqlstate(const PGresult *result) { return PQresultErrorField(result, PG_DIAG_SQLSTATE); }

static inline const char *culvert_PQ_message(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}

static inline const char *culvert_PQ_constraint(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
}

// libpq prints notices on standard error unless somebody takes them.
static inline void culvert_PQ_ignore(void *context, const PGresult *result) {}

static inline void culvert_PQ_ignore_notices(PGconn *connection) { PQsetNoticeReceiver(connection, culvert_PQ_ignore, 0); }
