import COpenSSL
import SPIFFE

/// One configured `SSL_CTX`: made once per (identity, certificate generation), used by every connection of it, from any thread.
///
/// TLS 1.3 only; AES-GCM suites (ChaCha20 too where the CPU has no AES instructions); ALPN `h2`; no tickets, resumption,
/// early data or SNI. The private key stays inside the `SSL_CTX`.
public final class TLSContext: Sendable {
    public enum Role: Sendable {
        case client
        /// Requires a certificate of the client.
        case server
    }

    /// Certificates that a peer may present, and their bytes.
    static let peerCertificatesMax = 10
    static let peerChainBytesMax = 64 << 10

    let role: Role
    let records: TLSRecords
    let verify: @Sendable ([[UInt8]]) -> TLSPeerVerdict
    /// `SSL_CTX` counts its references atomically and is not changed after `init`.
    nonisolated(unsafe) let pointer: OpaquePointer

    /// `certificateChainDER`: leaf first, then intermediates, no root; `privateKeyDER`: PKCS#8.
    ///
    /// `verify` runs synchronously inside the handshake, on the thread of the connection, with the peer's chain (leaf
    /// first, DER, as the peer sent it), and decides alone: OpenSSL's own chain building is off.
    public init(
        role: Role, certificateChainDER: [[UInt8]], privateKeyDER: [UInt8], records: TLSRecords = .own(vectorAES: true),
        verify: @escaping @Sendable ([[UInt8]]) -> TLSPeerVerdict
    ) throws(TLSError) {
        ERR_clear_error()
        guard let made = SSL_CTX_new(role == .server ? TLS_server_method() : TLS_client_method()) else {
            throw .library(OpenSSLErrorQueue.drainText())
        }
        self.role = role
        self.records = records
        self.verify = verify
        pointer = made
        try configure()
        try load(chain: certificateChainDER, privateKey: privateKeyDER)
    }

    deinit { SSL_CTX_free(pointer) }

    private func configure() throws(TLSError) {
        var suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
        if culvert_cpu_has_aes() == 0 { suites += ":TLS_CHACHA20_POLY1305_SHA256" }
        guard culvert_SSL_CTX_only_tls13(pointer) == 1, SSL_CTX_set_ciphersuites(pointer, suites) == 1, setGroups()
        else { throw .library(OpenSSLErrorQueue.drainText()) }
        // What was tried and not known left errors behind.
        ERR_clear_error()
        culvert_SSL_CTX_restrict(pointer)
        culvert_SSL_CTX_session_cache_off(pointer)
        culvert_SSL_CTX_set_max_cert_list(pointer, Self.peerChainBytesMax)
        SSL_CTX_set_num_tickets(pointer, 0)
        SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        SSL_CTX_set_cert_verify_callback(pointer, { store, _ in TLSEngine.verifyPeer(store) }, nil)
        if case .own = records {
            SSL_CTX_set_keylog_callback(pointer) { ssl, line in TLSEngine.keyLogged(ssl, line) }
        }
        switch role {
        case .client:
            let protocols: [UInt8] = [2] + "h2".utf8
            // 0 is success, for this function alone.
            guard SSL_CTX_set_alpn_protos(pointer, protocols, 3) == 0 else {
                throw .library(OpenSSLErrorQueue.drainText())
            }
        case .server:
            SSL_CTX_set_client_hello_cb(pointer, { ssl, alert, _ in TLSEngine.checkClientHello(ssl, alert) }, nil)
            SSL_CTX_set_alpn_select_cb(
                pointer,
                { ssl, chosen, chosenLength, offered, offeredLength, _ in
                    TLSEngine.selectProtocol(ssl, offered, Int(offeredLength), chosen, chosenLength)
                }, nil)
        }
    }

    /// The hybrid group where the linked OpenSSL knows it (3.5); from there on `*` asks for a key share of each.
    private func setGroups() -> Bool {
        for groups in ["*X25519MLKEM768:*X25519:P-256", "X25519:P-256"]
        where culvert_SSL_CTX_set_groups(pointer, groups) == 1 {
            return true
        }
        return false
    }

    private func load(chain: [[UInt8]], privateKey: [UInt8]) throws(TLSError) {
        guard !chain.isEmpty else { throw .noCertificate }
        for (index, der) in chain.enumerated() {
            guard let certificate = Self.certificate(der) else {
                throw .certificate(at: index, OpenSSLErrorQueue.drainText())
            }
            defer { X509_free(certificate) }
            let used =
                index == 0
                ? SSL_CTX_use_certificate(pointer, certificate)
                : culvert_SSL_CTX_add_chain_certificate(pointer, certificate)
            guard used == 1 else { throw .certificate(at: index, OpenSSLErrorQueue.drainText()) }
        }
        guard let key = Self.privateKey(privateKey) else { throw .privateKey(OpenSSLErrorQueue.drainText()) }
        defer { EVP_PKEY_free(key) }
        guard SSL_CTX_use_PrivateKey(pointer, key) == 1, SSL_CTX_check_private_key(pointer) == 1 else {
            ERR_clear_error()
            throw .keyMismatch
        }
    }

    private static func certificate(_ der: [UInt8]) -> OpaquePointer? {
        der.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            guard let certificate = d2i_X509(nil, &next, buffer.count) else { return nil }
            guard next == buffer.baseAddress.map({ $0 + buffer.count }) else {
                X509_free(certificate)
                return nil
            }
            return certificate
        }
    }

    private static func privateKey(_ der: [UInt8]) -> OpaquePointer? {
        der.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            return d2i_AutoPrivateKey(nil, &next, buffer.count)
        }
    }
}
