// Cold handshakes: each connection is a new TCP connection, a full TLS 1.3 handshake with a client certificate, one echo of 64
// bytes, and an orderly end. Straight to the listener of the serving side, without a proxy before it; one thread.
//
//   handshakes hbone|tls HOST PORT AUTHORITY CERTIFICATE KEY ROOTS SECONDS CLIENTS
//
// hbone: the echo is a stream of HTTP/2, opened with CONNECT to AUTHORITY. tls: the connection itself is the echo.
// Before it measures it proves that the listener's chain verifies against ROOTS, and that a client without a certificate gets
// nothing. The chain is not verified again while it measures: the client is to be the cheap side.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"

enum { MESSAGE = 64, ROOM = 8192, EVENTS = 256, LIMIT_SECONDS = 5 };
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7, END_STREAM = 1, ACK = 1, END_HEADERS = 4, FRAME = 9 };
enum outcome { WAITING, DONE, FAILED };

struct client {
    int fd;
    SSL *tls;
    uint64_t began;
    int shaken;
    size_t filled, echoed;
    unsigned char room[ROOM];
};

static struct sockaddr_in target;
static int hbone;
static unsigned char request[256], message[FRAME + MESSAGE];
static size_t requested;
static char why[256];

static void frame(unsigned char *at, size_t length, int type, int flags, int stream) {
    unsigned char header[FRAME] = {(unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length,
                                   (unsigned char)type, (unsigned char)flags, 0, 0, 0, (unsigned char)stream};
    memcpy(at, header, FRAME);
}

// The client's preface, empty SETTINGS, and CONNECT as HPACK literals that need no table.
static void prepare(const char *authority) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", method[] = "\x02\x07" "CONNECT";
    size_t length = strlen(authority);
    if (length > 100) {
        fputs("handshakes: the authority is too long\n", stderr);
        exit(2);
    }
    unsigned char *at = request;
    at = (unsigned char *)memcpy(at, preface, 24) + 24;
    frame(at, 0, SETTINGS, 0, 0);
    at += FRAME;
    frame(at, 9 + 2 + length, HEADERS, END_HEADERS, 1);
    at += FRAME;
    at = (unsigned char *)memcpy(at, method, 9) + 9;
    *at++ = 0x01;
    *at++ = (unsigned char)length;
    at = (unsigned char *)memcpy(at, authority, length) + length;
    requested = (size_t)(at - request);
    frame(message, MESSAGE, DATA, END_STREAM, 1);
}

static enum outcome failed(const char *what) {
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : errno ? strerror(errno) : NULL;
    snprintf(why, sizeof why, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    return FAILED;
}

static int put(struct client *client, const void *bytes, size_t count) {
    return SSL_write(client->tls, bytes, (int)count) == (int)count;
}

// What one frame means; WAITING: go on.
static enum outcome take(struct client *client, const unsigned char *at, size_t length) {
    const unsigned char *payload = at + FRAME;
    int flags = at[4];
    switch (at[3]) {
    case SETTINGS: {
        unsigned char acknowledgement[FRAME];
        frame(acknowledgement, 0, SETTINGS, ACK, 0);
        return flags & ACK || put(client, acknowledgement, FRAME) ? WAITING : failed("cannot send");
    }
    case HEADERS:
        // Changes of the table's size may come first; 0x88 is `:status: 200`.
        while (length > 0 && (*payload & 0xe0) == 0x20) payload++, length--;
        if (length == 0 || *payload != 0x88) return failed("CONNECT was refused");
        return put(client, message, sizeof message) ? WAITING : failed("cannot send");
    case DATA:
        client->echoed += length;
        if (flags & END_STREAM) return client->echoed == MESSAGE ? DONE : failed("the echo is not whole");
        return WAITING;
    case RST_STREAM: return failed("RST_STREAM");
    case GOAWAY: return failed("GOAWAY");
    default: return WAITING;
    }
}

static enum outcome take_all(struct client *client) {
    if (!hbone) {
        client->echoed += client->filled;
        client->filled = 0;
        return client->echoed < MESSAGE ? WAITING : DONE;
    }
    size_t start = 0;
    enum outcome outcome = WAITING;
    while (outcome == WAITING && client->filled - start >= FRAME) {
        const unsigned char *at = client->room + start;
        size_t length = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (length > ROOM - FRAME) return failed("a frame too long");
        if (client->filled - start < FRAME + length) break;
        outcome = take(client, at, length);
        start += FRAME + length;
    }
    client->filled -= start;
    memmove(client->room, client->room + start, client->filled);
    return outcome;
}

static enum outcome later(struct client *client, int result, const char *what) {
    int error = SSL_get_error(client->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? WAITING : failed(what);
}

static enum outcome advance(struct client *client) {
    ERR_clear_error();
    errno = 0;
    if (!client->shaken) {
        int result = SSL_do_handshake(client->tls);
        if (result != 1) return later(client, result, "handshake");
        if (SSL_session_reused(client->tls)) return failed("the session was resumed");
        client->shaken = 1;
        const unsigned char *protocol;
        unsigned length;
        SSL_get0_alpn_selected(client->tls, &protocol, &length);
        if (hbone && (length != 2 || memcmp(protocol, "h2", 2))) return failed("not HTTP/2");
        if (!(hbone ? put(client, request, requested) : put(client, message + FRAME, MESSAGE))) return failed("cannot send");
    }
    for (;;) {
        int result = SSL_read(client->tls, client->room + client->filled, (int)(ROOM - client->filled));
        if (result <= 0) return later(client, result, "the connection ended");
        client->filled += (size_t)result;
        enum outcome outcome = take_all(client);
        if (outcome != WAITING) return outcome;
    }
}

static void begin(struct client *client, SSL_CTX *context, int epoll) {
    int one = 1;
    client->began = now();
    client->shaken = 0;
    client->filled = client->echoed = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) die("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) die("connect");
    client->tls = SSL_new(context);
    if (!client->tls || SSL_set_fd(client->tls, client->fd) != 1) die("SSL_new");
    SSL_set_connect_state(client->tls);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0) die("epoll_ctl");
}

static void end(struct client *client, enum outcome outcome) {
    if (outcome == DONE) SSL_shutdown(client->tls);
    SSL_free(client->tls);
    close(client->fd);
}

static enum outcome once(SSL_CTX *context) {
    static struct client client;
    struct epoll_event event;
    int epoll = epoll_create1(0);
    enum outcome outcome = WAITING;
    uint64_t limit = now() + LIMIT_SECONDS * 1000000000ull;
    begin(&client, context, epoll);
    while (outcome == WAITING && now() < limit)
        if (epoll_wait(epoll, &event, 1, 100) == 1)
            outcome = event.events & EPOLLOUT || !(event.events & EPOLLERR) ? advance(&client) : failed("no connection");
    if (outcome == WAITING) snprintf(why, sizeof why, "no answer after %d s", LIMIT_SECONDS);
    end(&client, outcome);
    close(epoll);
    return outcome;
}

static int anybody(X509_STORE_CTX *store, void *unused) {
    (void)store, (void)unused;
    return 1;
}

static SSL_CTX *context(const char *certificate, const char *key) {
    static const unsigned char h2[] = {2, 'h', '2'};
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    if (!made || SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1 || SSL_CTX_set1_groups_list(made, "X25519:P-256") != 1 ||
        SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256") != 1 || (hbone && SSL_CTX_set_alpn_protos(made, h2, sizeof h2)) ||
        (certificate && (SSL_CTX_use_certificate_chain_file(made, certificate) != 1 ||
                         SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) != 1))) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cert_verify_callback(made, anybody, NULL);
    return made;
}

static void prove(SSL_CTX *ours, const char *certificate, const char *key, const char *roots) {
    SSL_CTX *strict = context(certificate, key), *nobody = context(NULL, NULL);
    SSL_CTX_set_cert_verify_callback(strict, NULL, NULL);
    SSL_CTX_set_verify(strict, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(strict, roots, NULL) != 1) die(roots);
    if (once(strict) != DONE || once(ours) != DONE) {
        fprintf(stderr, "handshakes: %s\n", why);
        exit(1);
    }
    if (once(nobody) == DONE) {
        fputs("handshakes: a client without a certificate was served\n", stderr);
        exit(1);
    }
    SSL_CTX_free(strict);
    SSL_CTX_free(nobody);
}

static void measure(SSL_CTX *context, double seconds, int clients) {
    struct client *all = calloc((size_t)clients, sizeof *all);
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);
    uint64_t start = now(), last = start + (uint64_t)(seconds * 1e9), count = 0, lost = 0;
    double before = used();
    if (!all) die("calloc");
    for (int i = 0; i < clients; i++) begin(&all[i], context, epoll);
    while (now() < last) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            enum outcome outcome = advance(client);
            if (outcome == WAITING) continue;
            if (outcome == DONE) {
                count++;
                sample(now() - client->began);
            } else lost++;
            end(client, outcome);
            begin(client, context, epoll);
        }
    }
    // Those that nobody has answered for a second.
    for (int i = 0; i < clients; i++) lost += now() - all[i].began > 1000000000u;
    if (lost) fprintf(stderr, "handshakes: %llu failed; the last: %s\n", (unsigned long long)lost, why);
    report(count, lost, (now() - start) / 1e9, used() - before);
}

int main(int count, char **words) {
    hbone = count > 1 && !strcmp(words[1], "hbone");
    if (count != 10 || (!hbone && strcmp(words[1], "tls"))) {
        fputs("handshakes hbone|tls HOST PORT AUTHORITY CERTIFICATE KEY ROOTS SECONDS CLIENTS\n", stderr);
        return 2;
    }
    // A listener that closes is counted as a failure where it is written to.
    signal(SIGPIPE, SIG_IGN);
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    if (inet_pton(AF_INET, words[2], &target.sin_addr) != 1) die(words[2]);
    prepare(words[4]);
    SSL_CTX *ours = context(words[5], words[6]);
    prove(ours, words[5], words[6], words[7]);
    measure(ours, atof(words[8]), atoi(words[9]));
    return 0;
}
