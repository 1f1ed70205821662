import COpenSSL

/// A TLS peer that is not ours: libssl over memory, set up as a test wants it.
final class ForeignTLS {
    struct Setup {
        var isServer = false
        var versionMax = TLS1_3_VERSION
        var alpn: [UInt8]? = [2] + "h2".utf8
        var presentsCertificate = true
        var groups = "X25519"
        var suites = "TLS_AES_128_GCM_SHA256"
        var tickets = 0
    }

    private let context: OpaquePointer?
    private let ssl: OpaquePointer?
    private let incoming = BIO_new(BIO_s_mem())
    private let outgoing = BIO_new(BIO_s_mem())
    private(set) var isEstablished = false
    /// Decrypted.
    private(set) var received: [UInt8] = []
    private(set) var error: String?
    private(set) var sawCloseNotify = false

    init(_ setup: Setup, identity: TestIdentity = .web) {
        let context = SSL_CTX_new(setup.isServer ? TLS_server_method() : TLS_client_method())
        self.context = context
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(setup.versionMax), nil)
        _ = setup.groups.withCString {
            SSL_CTX_ctrl(context, SSL_CTRL_SET_GROUPS_LIST, 0, UnsafeMutableRawPointer(mutating: $0))
        }
        SSL_CTX_set_ciphersuites(context, setup.suites)
        SSL_CTX_set_num_tickets(context, setup.tickets)
        if setup.presentsCertificate || setup.isServer {
            SSL_CTX_use_certificate_ASN1(context, Int32(identity.chain[0].count), identity.chain[0])
            SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, context, identity.keyDER, identity.keyDER.count)
        }
        if setup.isServer {
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER, { _, _ in 1 })
            if setup.alpn != nil {
                SSL_CTX_set_alpn_select_cb(
                    context,
                    { _, chosen, length, offered, _, _ in
                        chosen?.pointee = offered.map { $0 + 1 }
                        length?.pointee = 2
                        return SSL_TLSEXT_ERR_OK
                    }, nil)
            }
        } else if let alpn = setup.alpn {
            SSL_CTX_set_alpn_protos(context, alpn, UInt32(alpn.count))
        }
        ssl = SSL_new(context)
        SSL_set_bio(ssl, incoming, outgoing)
        if setup.isServer { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    func receive(_ bytes: [UInt8]) { BIO_write(incoming, bytes, Int32(bytes.count)) }

    /// Goes as far as it can and returns what it wants to send.
    func speak() -> [UInt8] {
        ERR_clear_error()
        if !isEstablished {
            let result = SSL_do_handshake(ssl)
            isEstablished = result == 1
            note(result)
        }
        if isEstablished { read() }
        var bytes = [UInt8](repeating: 0, count: BIO_ctrl_pending(outgoing))
        if !bytes.isEmpty { BIO_read(outgoing, &bytes, Int32(bytes.count)) }
        return bytes
    }

    private func read() {
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = SSL_read(ssl, &buffer, Int32(buffer.count))
            guard count > 0 else { return note(count) }
            received += buffer.prefix(Int(count))
        }
    }

    private func note(_ result: Int32) {
        guard result != 1 else { return }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        case SSL_ERROR_ZERO_RETURN: sawCloseNotify = true
        default:
            error = error ?? ERR_reason_error_string(ERR_get_error()).map { String(cString: $0) } ?? "error"
            ERR_clear_error()
        }
    }

    func send(_ plaintext: [UInt8]) {
        ERR_clear_error()
        SSL_write(ssl, plaintext, Int32(plaintext.count))
    }

    func updateKeys(both: Bool) { SSL_key_update(ssl, both ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) }

    /// Until neither has anything to say.
    func run(with endpoint: Endpoint) {
        while true {
            let up = speak()
            if !up.isEmpty { endpoint.receive(up) }
            let down = endpoint.speak()
            if !down.isEmpty { receive(down) }
            if up.isEmpty, down.isEmpty { return }
        }
    }
}
