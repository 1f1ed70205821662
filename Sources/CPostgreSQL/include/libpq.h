// libpq, opened when somebody first needs it. Linked, it would bring Kerberos, LDAP and GnuTLS into every proxy's memory, and
// into every node's image.
#pragma once
#include <postgresql/libpq-fe.h>

/// Opens libpq, once in the process. NULL when it is there, else the loader's reason. Before it has returned NULL nothing below may be called.
const char *libpq_open(void);

// What libpq calls PQ and the name.
PGconn *libpq_connectdbParams(const char *const *keywords, const char *const *values, int expand_dbname);
void libpq_finish(PGconn *connection);
ConnStatusType libpq_status(const PGconn *connection);
PGTransactionStatusType libpq_transactionStatus(const PGconn *connection);
char *libpq_errorMessage(const PGconn *connection);
int libpq_socket(const PGconn *connection);
int libpq_setnonblocking(PGconn *connection, int nonblocking);
int libpq_sendQuery(PGconn *connection, const char *statement);
int libpq_sendQueryParams(
    PGconn *connection, const char *statement, int count, const Oid *types, const char *const *values, const int *lengths,
    const int *formats, int result_format);
int libpq_flush(PGconn *connection);
int libpq_isBusy(PGconn *connection);
int libpq_consumeInput(PGconn *connection);
PGresult *libpq_getResult(PGconn *connection);
PGnotify *libpq_notifies(PGconn *connection);
void libpq_freemem(void *pointer);

ExecStatusType libpq_resultStatus(const PGresult *result);
char *libpq_resultErrorMessage(const PGresult *result);
int libpq_nfields(const PGresult *result);
int libpq_ntuples(const PGresult *result);
Oid libpq_ftype(const PGresult *result, int column);
int libpq_getisnull(const PGresult *result, int row, int column);
char *libpq_getvalue(const PGresult *result, int row, int column);
int libpq_getlength(const PGresult *result, int row, int column);
char *libpq_cmdStatus(PGresult *result);
char *libpq_cmdTuples(PGresult *result);
void libpq_clear(PGresult *result);

PQconninfoOption *libpq_conninfoParse(const char *text, char **error);
void libpq_conninfoFree(PQconninfoOption *options);

// Swift does not see macros of characters.
const char *libpq_sqlstate(const PGresult *result);
const char *libpq_primaryMessage(const PGresult *result);
const char *libpq_constraintName(const PGresult *result);

/// libpq prints notices on standard error unless somebody takes them.
void libpq_ignoreNotices(PGconn *connection);
