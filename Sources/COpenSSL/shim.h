// libssl as Swift can call it: function-like macros become functions, and STACK_OF accessors lose their templates.
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
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

// VAES and VPCLMULQDQ on registers of 512 bits, by the CPU and by the kernel that saves them.
static inline int culvert_cpu_has_vaes_avx512(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
    return 0;
#endif
}

// The AEADs of TLS 1.3 on one cipher context: keyed once, then a nonce for each record. All return 1 on success.

static inline int culvert_aead_key(EVP_CIPHER_CTX *ctx, const char *name, const unsigned char *key, int seals) {
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(0, name, 0);
    if (!cipher) return 0;
    int keyed = EVP_CipherInit_ex2(ctx, cipher, key, 0, seals, 0);
    EVP_CIPHER_free(cipher);
    return keyed;
}

// In place; the tag of 16 bytes follows the `count` bytes.
static inline int culvert_aead_seal(
    EVP_CIPHER_CTX *ctx, const unsigned char *nonce, const unsigned char *header, int headerCount, unsigned char *bytes,
    int count) {
    int written;
    return EVP_EncryptInit_ex2(ctx, 0, 0, nonce, 0) == 1 && EVP_EncryptUpdate(ctx, 0, &written, header, headerCount) == 1 &&
           EVP_EncryptUpdate(ctx, bytes, &written, bytes, count) == 1 &&
           EVP_EncryptFinal_ex(ctx, bytes + count, &written) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, bytes + count) == 1;
}

// In place; 0 also when the tag that follows the `count` bytes is not theirs: they are worthless then.
static inline int culvert_aead_open(
    EVP_CIPHER_CTX *ctx, const unsigned char *nonce, const unsigned char *header, int headerCount, unsigned char *bytes,
    int count) {
    int written;
    return EVP_DecryptInit_ex2(ctx, 0, 0, nonce, 0) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, bytes + count) == 1 &&
           EVP_DecryptUpdate(ctx, 0, &written, header, headerCount) == 1 &&
           EVP_DecryptUpdate(ctx, bytes, &written, bytes, count) == 1 &&
           EVP_DecryptFinal_ex(ctx, bytes + count, &written) == 1;
}

static inline uint16_t culvert_SSL_suite(SSL *ssl) { return SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)); }
