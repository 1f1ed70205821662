#include "libpq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

// result, name, parameters, arguments
#define EACH_FUNCTION(F)                                                                                               \
    F(PGconn *, connectdbParams, (const char *const *k, const char *const *v, int e), (k, v, e))                       \
    F(void, finish, (PGconn * c), (c))                                                                                 \
    F(ConnStatusType, status, (const PGconn *c), (c))                                                                  \
    F(PGTransactionStatusType, transactionStatus, (const PGconn *c), (c))                                              \
    F(char *, errorMessage, (const PGconn *c), (c))                                                                    \
    F(int, socket, (const PGconn *c), (c))                                                                             \
    F(int, setnonblocking, (PGconn * c, int on), (c, on))                                                              \
    F(int, sendQuery, (PGconn * c, const char *s), (c, s))                                                             \
    F(int, sendQueryParams,                                                                                            \
      (PGconn * c, const char *s, int n, const Oid *t, const char *const *v, const int *l, const int *f, int r),       \
      (c, s, n, t, v, l, f, r))                                                                                        \
    F(int, flush, (PGconn * c), (c))                                                                                   \
    F(int, isBusy, (PGconn * c), (c))                                                                                  \
    F(int, consumeInput, (PGconn * c), (c))                                                                            \
    F(PGresult *, getResult, (PGconn * c), (c))                                                                        \
    F(PGnotify *, notifies, (PGconn * c), (c))                                                                         \
    F(void, freemem, (void *p), (p))                                                                                   \
    F(ExecStatusType, resultStatus, (const PGresult *r), (r))                                                          \
    F(char *, resultErrorMessage, (const PGresult *r), (r))                                                            \
    F(int, nfields, (const PGresult *r), (r))                                                                          \
    F(int, ntuples, (const PGresult *r), (r))                                                                          \
    F(Oid, ftype, (const PGresult *r, int column), (r, column))                                                        \
    F(int, getisnull, (const PGresult *r, int row, int column), (r, row, column))                                      \
    F(char *, getvalue, (const PGresult *r, int row, int column), (r, row, column))                                    \
    F(int, getlength, (const PGresult *r, int row, int column), (r, row, column))                                      \
    F(char *, cmdStatus, (PGresult * r), (r))                                                                          \
    F(char *, cmdTuples, (PGresult * r), (r))                                                                          \
    F(void, clear, (PGresult * r), (r))                                                                                \
    F(PQconninfoOption *, conninfoParse, (const char *t, char **e), (t, e))                                            \
    F(void, conninfoFree, (PQconninfoOption * o), (o))

#define FORWARD(result, name, parameters, arguments)                                                                   \
    static result(*real_##name) parameters;                                                                            \
    result libpq_##name parameters { return real_##name arguments; }

EACH_FUNCTION(FORWARD)

static char *(*real_resultErrorField)(const PGresult *, int);
static PQnoticeReceiver (*real_setNoticeReceiver)(PGconn *, PQnoticeReceiver, void *);
static const char *why_not = "not opened";

static int find(void *library, const char *name, void *function) {
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

#define FIND(result, name, parameters, arguments) && find(library, "PQ" #name, &real_##name)

static void open_once(void) {
    // The major version is the ABI that libpq-fe.h describes.
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    int complete = library != NULL EACH_FUNCTION(FIND) && find(library, "PQresultErrorField", &real_resultErrorField) &&
                   find(library, "PQsetNoticeReceiver", &real_setNoticeReceiver);
    why_not = complete ? NULL : dlerror();
}

const char *libpq_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
    return why_not;
}

const char *libpq_sqlstate(const PGresult *result) { return real_resultErrorField(result, PG_DIAG_SQLSTATE); }

const char *libpq_primaryMessage(const PGresult *result) {
    return real_resultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}

const char *libpq_constraintName(const PGresult *result) {
    return real_resultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
}

static void ignore(void *context, const PGresult *result) {}

void libpq_ignoreNotices(PGconn *connection) { real_setNoticeReceiver(connection, ignore, NULL); }
