// A fleet of nodes against one authority: each has a connection of its own over mutual TLS, follows the trust bundle and acknowledges it,
// and asks for SVIDs. One thread; the same key for all of them, and the same signing request, so that the authority does nearly all of
// the work. Commands come on standard input, one a line; each answers with one line of JSON.
//
//   fleet HOST ATTESTATION_PORT NODES_PORT
//
//   attest FILE      lines of "node token": attests each node, from an address of its own in 127.0.0.0/8
//   connect          every attested node connects and follows the bundle; until each has acknowledged it
//   issue FILE N B   lines of "node pod": asks for an SVID for each pod, in calls for B pods, N at a time on a node's connection
//   wait SEQUENCE    until every node has received the bundle of that sequence and has acknowledged it
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"

enum { NODES = 8192, PODS = 1 << 18, ROOM = 20 << 10, OUTBOX = 96 << 10, FRAME = 9, STREAMS = 128, EVENTS = 512, LIMIT_SECONDS = 120 };
// For one call: what fits into one frame.
enum { BATCH = 32, MESSAGE = 14 << 10 };
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct call {
    uint32_t stream;
    uint32_t pods[BATCH];
    int count;
    uint64_t began;
    // The message so far, with its length before it.
    unsigned char *answer;
    size_t filled, room;
};

struct node {
    char name[64];
    char token[128];
    X509 *leaf, *issuer;
    int fd, shaken;
    SSL *tls;
    uint32_t next_stream, bundle_stream;
    uint64_t sequence, acknowledged_at;
    size_t filled, unsent, window;
    unsigned char *room, *outbox;
    struct call calls[STREAMS];
    int under_way;
    uint64_t paused_until;
    uint32_t first_pod, pods, next_pod;
    uint32_t *again;
    uint32_t again_count;
};

static struct node nodes[NODES];
static size_t node_count;
static char (*pods)[40];
static size_t pod_count;
static SSL_CTX *context;
static EVP_PKEY *key;
static unsigned char request[1024];
static size_t requested;
static char host[64];
static int attestation_port, nodes_port, poller;
static uint64_t issued, refused, failed;
static int concurrency, batch;

static void fail(const char *what) {
    fprintf(stderr, "fleet: %s: %s\n", what, ERR_peek_last_error() ? ERR_reason_error_string(ERR_peek_last_error()) : strerror(errno));
    exit(1);
}

// MARK: Protobuf and gRPC, by hand

static unsigned char *varint(unsigned char *at, uint64_t value) {
    for (; value > 127; value >>= 7) *at++ = (unsigned char)(value | 128);
    *at++ = (unsigned char)value;
    return at;
}

static unsigned char *bytes_field(unsigned char *at, int number, const void *bytes, size_t length) {
    *at++ = (unsigned char)(number << 3 | 2);
    at = varint(at, length);
    memcpy(at, bytes, length);
    return at + length;
}

static int take_varint(const unsigned char **at, const unsigned char *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) return 1;
    }
    return 0;
}

// The `which`th field with this number: of a length, or a number in `value`.
static const unsigned char *field(const unsigned char *at, const unsigned char *end, int number, int which, size_t *length, uint64_t *value) {
    while (at < end) {
        uint64_t tag, size;
        if (!take_varint(&at, end, &tag)) return NULL;
        if ((tag & 7) == 0) {
            if (!take_varint(&at, end, value)) return NULL;
            if ((int)(tag >> 3) == number && which-- == 0) return at;
        } else if ((tag & 7) == 2) {
            if (!take_varint(&at, end, &size) || size > (uint64_t)(end - at)) return NULL;
            if ((int)(tag >> 3) == number && which-- == 0) {
                *length = size;
                return at;
            }
            at += size;
        } else {
            return NULL;
        }
    }
    return NULL;
}

// MARK: HTTP/2, by hand

static unsigned char *frame(unsigned char *at, size_t length, int type, int flags, uint32_t stream) {
    unsigned char header[FRAME] = {(unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length,
                                   (unsigned char)type, (unsigned char)flags,
                                   (unsigned char)(stream >> 24), (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    memcpy(at, header, FRAME);
    return at + FRAME;
}

static unsigned char *literal(unsigned char *at, const char *name, const char *value) {
    *at++ = 0;
    *at++ = (unsigned char)strlen(name);
    at = (unsigned char *)memcpy(at, name, strlen(name)) + strlen(name);
    *at++ = (unsigned char)strlen(value);
    return (unsigned char *)memcpy(at, value, strlen(value)) + strlen(value);
}

static void flush(struct node *node) {
    while (node->unsent > 0) {
        int count = SSL_write(node->tls, node->outbox, (int)node->unsent);
        if (count <= 0) return;
        node->unsent -= (size_t)count;
        memmove(node->outbox, node->outbox + count, node->unsent);
    }
}

static void put(struct node *node, const unsigned char *bytes, size_t count) {
    if (node->unsent + count > OUTBOX) fail("a node cannot be written to");
    memcpy(node->outbox + node->unsent, bytes, count);
    node->unsent += count;
}

static uint32_t call(struct node *node, const char *path, const unsigned char *message, size_t length, int ends) {
    static unsigned char buffer[MESSAGE + 512];
    unsigned char *at = buffer + FRAME;
    uint32_t stream = node->next_stream;
    node->next_stream += 2;
    at = literal(at, ":method", "POST");
    at = literal(at, ":scheme", "https");
    at = literal(at, ":path", path);
    at = literal(at, ":authority", "authority");
    at = literal(at, "content-type", "application/grpc");
    at = literal(at, "te", "trailers");
    frame(buffer, (size_t)(at - buffer) - FRAME, HEADERS, END_HEADERS, stream);
    at = frame(at, length + 5, DATA, ends ? END_STREAM : 0, stream);
    *at++ = 0;
    *at++ = 0, *at++ = 0, *at++ = (unsigned char)(length >> 8), *at++ = (unsigned char)length;
    memcpy(at, message, length);
    put(node, buffer, (size_t)(at - buffer) + length);
    return stream;
}

static void acknowledge(struct node *node) {
    unsigned char message[64], *at = message, data[128];
    *at++ = 1 << 3;
    at = varint(at, node->sequence);
    at = bytes_field(at, 2, "bench", 5);
    size_t length = (size_t)(at - message);
    at = frame(data, length + 5, DATA, 0, node->bundle_stream);
    *at++ = 0, *at++ = 0, *at++ = 0, *at++ = 0, *at++ = (unsigned char)length;
    memcpy(at, message, length);
    put(node, data, (size_t)(at - data) + length);
    node->acknowledged_at = now();
}

// MARK: A connection

static void open_connection(struct node *node, int port, int authenticates) {
    size_t number = (size_t)(node - nodes);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    // So that the limits per address are those of many nodes.
    from.sin_addr.s_addr = htonl(0x7f010001u + (uint32_t)number);
    inet_pton(AF_INET, host, &to.sin_addr);
    node->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(node->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (node->fd < 0 || bind(node->fd, (struct sockaddr *)&from, sizeof from) || connect(node->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    fcntl(node->fd, F_SETFL, O_NONBLOCK);
    node->tls = SSL_new(context);
    SSL_set_fd(node->tls, node->fd);
    if (authenticates) {
        SSL_use_certificate(node->tls, node->leaf);
        SSL_add1_chain_cert(node->tls, node->issuer);
        SSL_use_PrivateKey(node->tls, key);
    }
    SSL_set_connect_state(node->tls);
    if (!node->room) node->room = malloc(ROOM), node->outbox = malloc(OUTBOX);
    node->filled = node->unsent = node->shaken = 0;
    node->next_stream = 1;
    node->bundle_stream = 0;
    node->window = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = node};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, node->fd, &event)) die("epoll_ctl");
}

static void close_connection(struct node *node) {
    SSL_free(node->tls);
    close(node->fd);
    node->tls = NULL;
    node->fd = -1;
}

static void greet(struct node *node) {
    unsigned char hello[128];
    memcpy(hello, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    unsigned char *at = frame(hello + 24, 6, SETTINGS, 0, 0);
    // INITIAL_WINDOW_SIZE: 1 MiB, so that streams need no updates.
    static const unsigned char window[6] = {0, 4, 0, 16, 0, 0};
    at = (unsigned char *)memcpy(at, window, 6) + 6;
    put(node, hello, (size_t)(at - hello));
    node->shaken = 1;
}

static int on_attested(struct node *node, const unsigned char *message, size_t length);
static void on_answer(struct node *node, uint32_t stream);
static int phase_is_attestation;

static void on_data(struct node *node, uint32_t stream, const unsigned char *payload, size_t length, int flags) {
    // Of the connection's window.
    node->window += length;
    if (node->window > 16384) {
        unsigned char update[FRAME + 4];
        unsigned char *at = frame(update, 4, WINDOW_UPDATE, 0, 0);
        *at++ = (unsigned char)(node->window >> 24), *at++ = (unsigned char)(node->window >> 16), *at++ = (unsigned char)(node->window >> 8), *at++ = (unsigned char)node->window;
        put(node, update, FRAME + 4);
        node->window = 0;
    }
    if (!phase_is_attestation && stream != node->bundle_stream) {
        for (int index = 0; index < concurrency; index++) {
            struct call *made = &node->calls[index];
            if (made->stream != stream) continue;
            if (made->filled + length > made->room) made->answer = realloc(made->answer, made->room = made->filled + length + ROOM);
            memcpy(made->answer + made->filled, payload, length);
            made->filled += length;
        }
    } else if (length > 5) {
        const unsigned char *message = payload + 5;
        size_t size;
        uint64_t sequence = 0;
        if (phase_is_attestation) {
            if (!on_attested(node, message, length - 5)) failed++;
        } else {
            const unsigned char *bundle = field(message, payload + length, 1, 0, &size, &sequence);
            if (bundle && field(bundle, bundle + size, 2, 0, &size, &sequence)) {
                node->sequence = sequence;
                acknowledge(node);
            }
        }
    }
    if (flags & END_STREAM) on_answer(node, stream);
}

static int take_frames(struct node *node) {
    size_t start = 0;
    while (node->filled - start >= FRAME) {
        const unsigned char *at = node->room + start;
        size_t length = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (length > ROOM - FRAME) return 0;
        if (node->filled - start < FRAME + length) break;
        uint32_t stream = ((uint32_t)at[5] << 24 | (uint32_t)at[6] << 16 | (uint32_t)at[7] << 8 | at[8]) & 0x7fffffff;
        unsigned char answer[FRAME + 8];
        switch (at[3]) {
        case SETTINGS:
            if (!(at[4] & ACK)) put(node, answer, (size_t)(frame(answer, 0, SETTINGS, ACK, 0) - answer));
            break;
        case PING:
            if (!(at[4] & ACK)) {
                memcpy(frame(answer, 8, PING, ACK, 0), at + FRAME, 8);
                put(node, answer, FRAME + 8);
            }
            break;
        case DATA: on_data(node, stream, at + FRAME, length, at[4]); break;
        case HEADERS:
            if (at[4] & END_STREAM) on_answer(node, stream);
            break;
        case RST_STREAM: on_answer(node, stream); break;
        case GOAWAY: return 0;
        default: break;
        }
        start += FRAME + length;
    }
    node->filled -= start;
    memmove(node->room, node->room + start, node->filled);
    return 1;
}

// 0: the connection is over.
static int advance(struct node *node) {
    ERR_clear_error();
    if (!node->shaken) {
        int result = SSL_do_handshake(node->tls);
        if (result != 1) {
            int error = SSL_get_error(node->tls, result);
            return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
        }
        greet(node);
        if (phase_is_attestation) {
            unsigned char message[1400], *at = bytes_field(message, 1, node->token, strlen(node->token));
            at = bytes_field(at, 2, request, requested);
            call(node, "/culvert.authority.v1.NodeAttestation/AttestNode", message, (size_t)(at - message), 1);
        } else {
            node->bundle_stream = call(node, "/culvert.authority.v1.Authority/StreamBundle", (const unsigned char *)"", 0, 0);
        }
    }
    for (;;) {
        flush(node);
        int count = SSL_read(node->tls, node->room + node->filled, (int)(ROOM - node->filled));
        if (count > 0) {
            node->filled += (size_t)count;
            if (!take_frames(node)) return 0;
            continue;
        }
        int error = SSL_get_error(node->tls, count);
        flush(node);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    }
}

static void turn(int milliseconds) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, milliseconds);
    for (int index = 0; index < count; index++) {
        struct node *node = events[index].data.ptr;
        if (!node->tls) continue;
        if (!advance(node)) {
            if (phase_is_attestation && node->leaf) continue;
            if (getenv("FLEET_DEBUG")) fprintf(stderr, "fleet: %s lost its connection\n", node->name);
            failed++;
            close_connection(node);
        }
    }
}

// MARK: Phases

static size_t attested;

static int on_attested(struct node *node, const unsigned char *message, size_t length) {
    size_t size;
    uint64_t value;
    const unsigned char *der = field(message, message + length, 1, 0, &size, &value);
    if (!der || !(node->leaf = d2i_X509(NULL, &der, (long)size))) return 0;
    der = field(message, message + length, 1, 1, &size, &value);
    if (!der || !(node->issuer = d2i_X509(NULL, &der, (long)size))) return 0;
    attested++;
    return 1;
}

// The request for one pod: of its first use.
static unsigned char *ask_for(unsigned char *at, uint32_t pod) {
    at = bytes_field(at, 1, pods[pod], strlen(pods[pod]));
    at = bytes_field(at, 2, request, requested);
    *at++ = 3 << 3;
    *at++ = 2;
    return at;
}

static void ask(struct node *node, struct call *made) {
    unsigned char message[MESSAGE], *at = message;
    if (batch == 1) {
        at = ask_for(message, made->pods[0]);
    } else {
        for (int index = 0; index < made->count; index++) {
            unsigned char one[1400], *end = ask_for(one, made->pods[index]);
            at = bytes_field(at, 1, one, (size_t)(end - one));
        }
    }
    made->began = now();
    made->filled = 0;
    made->stream = call(node, batch == 1 ? "/culvert.authority.v1.Authority/IssueSVID" : "/culvert.authority.v1.Authority/IssueSVIDs",
                        message, (size_t)(at - message), 1);
    node->under_way++;
}

// Which of the call's pods got an SVID.
static int has_svid(const struct call *made, int index) {
    size_t size;
    uint64_t value;
    if (made->filled < 5) return 0;
    const unsigned char *message = made->answer + 5, *end = made->answer + made->filled;
    if (batch == 1) return field(message, end, 1, 0, &size, &value) != NULL;
    const unsigned char *outcome = field(message, end, 1, index, &size, &value);
    return outcome && field(outcome, outcome + size, 1, 0, &size, &value);
}

static int ask_next(struct node *node, int slot) {
    if (now() < node->paused_until) return 0;
    struct call *made = &node->calls[slot];
    made->count = 0;
    while (made->count < batch && node->again_count > 0) made->pods[made->count++] = node->again[--node->again_count];
    while (made->count < batch && node->next_pod < node->first_pod + node->pods) made->pods[made->count++] = node->next_pod++;
    if (made->count) ask(node, made);
    return made->count > 0;
}

// A refusal has no message: paced, the node waits and asks again. The advice itself is in trailers that are compressed.
static void on_answer(struct node *node, uint32_t stream) {
    for (int slot = 0; slot < concurrency; slot++) {
        struct call *made = &node->calls[slot];
        if (!made->stream || made->stream != stream) continue;
        node->under_way--;
        made->stream = 0;
        uint64_t took = now() - made->began;
        for (int index = 0; index < made->count; index++) {
            if (has_svid(made, index)) {
                issued++;
                sample(took);
            } else {
                refused++;
                node->again[node->again_count++] = made->pods[index];
                node->paused_until = now() + 250000000u;
            }
        }
        ask_next(node, slot);
        return;
    }
}

static struct node *find(const char *name, size_t *hint) {
    for (size_t step = 0; step < node_count; step++) {
        size_t at = (*hint + step) % node_count;
        if (!strcmp(nodes[at].name, name)) {
            *hint = at;
            return &nodes[at];
        }
    }
    return NULL;
}

static void attest(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    while (node_count < NODES && fscanf(file, "%63s %127s", nodes[node_count].name, nodes[node_count].token) == 2) node_count++;
    fclose(file);
    uint64_t began = now();
    double cpu = used();
    phase_is_attestation = 1;
    size_t opened = 0, closed = 0, in_flight = 64;
    while (closed < node_count && now() - began < LIMIT_SECONDS * 1000000000ull) {
        // What the authority lets strangers do together: 2000 at once and 100 a second.
        size_t allowed = 1900 + (size_t)((now() - began) / 10526315u);
        while (opened < node_count && opened - closed < in_flight && opened < allowed) open_connection(&nodes[opened++], attestation_port, 0);
        turn(100);
        while (closed < opened && nodes[closed].leaf) close_connection(&nodes[closed++]);
        if (failed) break;
    }
    phase_is_attestation = 0;
    report(attested, failed, (double)(now() - began) / 1e9, used() - cpu);
}

static size_t acknowledged(uint64_t sequence) {
    size_t count = 0;
    for (size_t index = 0; index < node_count; index++) count += nodes[index].sequence >= sequence;
    return count;
}

static void wait_for(uint64_t sequence, uint64_t began, double cpu) {
    uint64_t look = 0;
    while (now() - began < LIMIT_SECONDS * 1000000000ull) {
        turn(10);
        if (now() < look) continue;
        look = now() + 1000000;
        if (acknowledged(sequence) == node_count) break;
    }
    uint64_t last = 0;
    for (size_t index = 0; index < node_count; index++)
        if (nodes[index].acknowledged_at > last) last = nodes[index].acknowledged_at;
    sampled = 0;
    report(acknowledged(sequence), failed, last > began ? (double)(last - began) / 1e9 : 1e-9, used() - cpu);
}

static void connect_all(void) {
    uint64_t began = now();
    double cpu = used();
    failed = 0;
    for (size_t index = 0; index < node_count; index++) {
        open_connection(&nodes[index], nodes_port, 1);
        // A few at a time, as their handshakes end.
        while (index + 1 - acknowledged(1) > 64 && now() - began < LIMIT_SECONDS * 1000000000ull) turn(100);
    }
    wait_for(1, began, cpu);
}

static void issue(const char *path, int at_once, int together) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    if (!pods) pods = calloc(PODS, sizeof *pods);
    char name[64];
    size_t hint = 0;
    pod_count = 0;
    for (size_t index = 0; index < node_count; index++) nodes[index].pods = 0;
    // A node's pods stand together.
    while (pod_count < PODS && fscanf(file, "%63s %39s", name, pods[pod_count]) == 2) {
        struct node *node = find(name, &hint);
        if (!node) fail("a pod on an unknown node");
        if (!node->pods++) node->first_pod = node->next_pod = (uint32_t)pod_count;
        pod_count++;
    }
    fclose(file);
    concurrency = at_once < STREAMS ? at_once : STREAMS;
    batch = together < 1 ? 1 : together < BATCH ? together : BATCH;
    uint64_t began = now(), target = pod_count;
    double cpu = used();
    issued = refused = failed = sampled = 0;
    for (size_t index = 0; index < node_count; index++) {
        struct node *node = &nodes[index];
        if (!node->pods || !node->tls) continue;
        node->again = calloc(node->pods, sizeof *node->again);
        node->again_count = 0;
        memset(node->calls, 0, sizeof node->calls);
        for (int slot = 0; slot < concurrency; slot++) ask_next(node, slot);
        if (!advance(node)) failed++, close_connection(node);
    }
    uint64_t look = 0;
    while (issued < target && now() - began < LIMIT_SECONDS * 1000000000ull) {
        turn(20);
        if (now() < look) continue;
        look = now() + 50000000;
        for (size_t index = 0; index < node_count; index++) {
            struct node *node = &nodes[index];
            if (!node->tls || node->paused_until == 0 || now() < node->paused_until || node->under_way >= concurrency) continue;
            node->paused_until = 0;
            for (int slot = 0; slot < concurrency; slot++)
                if (!node->calls[slot].stream && !ask_next(node, slot)) break;
            if (!advance(node)) failed++, close_connection(node);
        }
    }
    double seconds = (double)(now() - began) / 1e9;
    report_with(issued, failed + (target - issued), seconds, used() - cpu, "refused", refused);
    for (size_t index = 0; index < node_count; index++) free(nodes[index].again), nodes[index].again = NULL;
}

static void prepare(void) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set1_groups_list(context, "X25519");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    static const unsigned char protocols[] = "\x02h2";
    SSL_CTX_set_alpn_protos(context, protocols, 3);
    key = EVP_EC_gen("P-256");
    X509_REQ *csr = X509_REQ_new();
    unsigned char *at = request;
    X509_REQ_set_pubkey(csr, key);
    if (!X509_REQ_sign(csr, key, EVP_sha256()) || i2d_X509_REQ(csr, NULL) > (int)sizeof request) fail("the signing request");
    requested = (size_t)i2d_X509_REQ(csr, &at);
    poller = epoll_create1(EPOLL_CLOEXEC);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: fleet HOST ATTESTATION_PORT NODES_PORT\n", stderr);
        return 2;
    }
    snprintf(host, sizeof host, "%s", argv[1]);
    attestation_port = atoi(argv[2]);
    nodes_port = atoi(argv[3]);
    prepare();
    char line[1024], path[512];
    // Between commands the connections are served, too.
    fcntl(0, F_SETFL, O_NONBLOCK);
    size_t filled = 0;
    for (;;) {
        ssize_t count = read(0, line + filled, sizeof line - 1 - filled);
        if (count == 0) return 0;
        if (count < 0 && errno != EAGAIN) die("read");
        if (count > 0) filled += (size_t)count;
        line[filled] = 0;
        char *end = strchr(line, '\n');
        if (!end) {
            turn(20);
            continue;
        }
        *end = 0;
        int number = 0, together = 0;
        unsigned long long sequence = 0;
        if (sscanf(line, "attest %511s", path) == 1) attest(path);
        else if (!strcmp(line, "connect")) connect_all();
        else if (sscanf(line, "issue %511s %d %d", path, &number, &together) == 3) issue(path, number, together);
        else if (sscanf(line, "wait %llu", &sequence) == 1) wait_for(sequence, now(), used());
        else return fprintf(stderr, "fleet: what is “%s”?\n", line), 2;
        filled -= (size_t)(end + 1 - line);
        memmove(line, end + 1, filled);
    }
}
