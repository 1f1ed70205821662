// libssl as Swift can call it: function-like macros become functions, and STACK_OF accessors lose their templates.
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static inline int culvert_SSL_CTX_only_tls13(SSL_CTX *ctx) {
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
}

static inline void culvert_SSL_CTX_restrict(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
}

static inline void culvert_SSL_CTX_session_cache_off(SSL_CTX *ctx) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

static inline void culvert_SSL_CTX_set_max_cert_list(SSL_CTX *ctx, long bytes) { SSL_CTX_set_max_cert_list(ctx, bytes); }

static inline int culvert_SSL_CTX_set_groups(SSL_CTX *ctx, const char *list) {
    return (int)SSL_CTX_set1_groups_list(ctx, list);
}

static inline int culvert_SSL_CTX_add_chain_certificate(SSL_CTX *ctx, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}

static inline int culvert_SSL_new_ex_index(void) { return SSL_get_ex_new_index(0, 0, 0, 0, 0); }

static inline const char *culvert_SSL_group_name(SSL *ssl) {
    int group = (int)SSL_get_negotiated_group(ssl);
    return group ? SSL_group_to_name(ssl, group) : 0;
}

static inline SSL *culvert_X509_STORE_CTX_ssl(X509_STORE_CTX *store) {
    return (SSL *)X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
}

static inline int culvert_chain_count(X509_STORE_CTX *store) { return sk_X509_num(X509_STORE_CTX_get0_untrusted(store)); }

static inline X509 *culvert_chain_at(X509_STORE_CTX *store, int index) {
    return sk_X509_value(X509_STORE_CTX_get0_untrusted(store), index);
}

static inline void culvert_BIO_retry_read(BIO *bio) { BIO_set_retry_read(bio); }

static inline void culvert_BIO_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }

// Whether the CPU has AES instructions; where unknown, yes.
static inline int culvert_cpu_has_aes(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AES) != 0;
#elif defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP) & (1ul << 3)) != 0;
#else
    return 1;
#endif
}
