import COpenSSL
import SPIFFE

/// One TLS 1.3 connection without a socket: ciphertext in, plaintext out, and the other way round.
///
/// All of it is libssl's now. Only this type knows that: a record layer of our own takes over behind these same methods
/// once the handshake is done. Confined to the thread of its connection.
final class TLSEngine {
    enum Step {
        case needsInput
        case established(HBONEPeer)
        case failed(ConnectionEnd)
    }

    enum Read {
        case bytes(Int)
        case needsInput
        case closeNotify
        case failed(ConnectionEnd)
    }

    /// Set by callbacks inside libssl; OpenSSL's own error says less.
    private enum Flaw {
        case alpn
        case refused(String)
    }

    private static let exIndex: Int32 = culvert_SSL_new_ex_index()

    private let context: TLSContext
    private let ssl: OpaquePointer
    private var input = UnsafeRawBufferPointer(start: nil, count: 0)
    private var opening = TLSOpening()
    private var verified: SPIFFEID?
    private var flaw: Flaw?
    private(set) var isEstablished = false
    /// After a failure libssl must not be asked anything.
    private var isDead = false
    /// What is to be written to the socket. Alerts go here too.
    var output = CiphertextQueue()

    init(context: TLSContext) {
        self.context = context
        guard let ssl = SSL_new(context.pointer), let bio = BIO_new(TLSEngine.bioMethod) else {
            preconditionFailure("OpenSSL is out of memory")
        }
        self.ssl = ssl
        let me = Unmanaged.passUnretained(self).toOpaque()
        BIO_set_data(bio, me)
        BIO_set_init(bio, 1)
        SSL_set_bio(ssl, bio, bio)
        SSL_set_ex_data(ssl, TLSEngine.exIndex, me)
        if context.role == .server { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit { SSL_free(ssl) }

    // MARK: Ciphertext in

    /// The bytes must stay valid until `inputDone`; in between, `handshake` and `read` take them.
    func provide(_ ciphertext: UnsafeRawBufferPointer) {
        if !isEstablished { opening.note(ciphertext) }
        input = ciphertext
        ERR_clear_error()
    }

    /// What was not taken by now is dropped: the connection is at its end.
    func inputDone() { input = UnsafeRawBufferPointer(start: nil, count: 0) }

    func handshake() -> Step {
        guard !isDead else { return .needsInput }
        let result = SSL_do_handshake(ssl)
        guard result == 1 else {
            let reason = SSL_get_error(ssl, result)
            return reason == SSL_ERROR_WANT_READ ? .needsInput : .failed(fail(reason))
        }
        guard agreedOnHTTP2 else {
            isDead = true
            return .failed(.alpn)
        }
        guard let verified else {
            isDead = true
            return .failed(.tls("the peer was not verified"))
        }
        isEstablished = true
        return .established(
            HBONEPeer(
                id: verified, tlsVersion: String(cString: SSL_get_version(ssl)),
                cipher: String(cString: SSL_CIPHER_get_name(SSL_get_current_cipher(ssl))), group: group))
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Read {
        guard !isDead else { return .needsInput }
        var count = 0
        let result = SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
        if result == 1 { return .bytes(count) }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .needsInput
        case SSL_ERROR_ZERO_RETURN: return .closeNotify
        case let reason: return .failed(fail(reason))
        }
    }

    // MARK: Plaintext in

    /// Seals all of it into `output`; an end if TLS is broken.
    func send(_ plaintext: UnsafeRawBufferPointer) -> ConnectionEnd? {
        guard !isDead, !plaintext.isEmpty else { return nil }
        var count = 0
        ERR_clear_error()
        let result = SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &count)
        return result == 1 ? nil : fail(SSL_get_error(ssl, result))
    }

    /// Nothing can be sent after it.
    func sendCloseNotify() {
        guard isEstablished, !isDead else { return }
        isDead = true
        ERR_clear_error()
        SSL_shutdown(ssl)
        ERR_clear_error()
    }

    // MARK: What was agreed

    private var agreedOnHTTP2: Bool {
        var name: UnsafePointer<UInt8>?
        var length: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &length)
        return UnsafeBufferPointer(start: name, count: Int(length)).elementsEqual("h2".utf8)
    }

    /// By the names of RFC 8446 and of SSL_CTX_set1_groups_list, whichever OpenSSL gives.
    private var group: String? {
        guard let name = culvert_SSL_group_name(ssl).map({ String(cString: $0) }) else { return nil }
        switch name {
        case "x25519": return "X25519"
        case "secp256r1", "prime256v1": return "P-256"
        default: return name
        }
    }

    // MARK: Failure

    /// libssl has put the alert into `output` already.
    private func fail(_ sslError: Int32) -> ConnectionEnd {
        isDead = true
        let entry = OpenSSLErrorQueue.drain()
        switch flaw {
        case .alpn: return .alpn
        case .refused(let reason): return .peerRefused(reason)
        case nil: break
        }
        if !isEstablished, let speaks = opening.notTLS { return .tls(speaks) }
        guard let entry, entry.library == ERR_LIB_SSL else { return .tls(entry?.text ?? "error \(sslError)") }
        // Alerts received are numbered from 1000 (SSL_AD_REASON_OFFSET).
        if entry.reason == SSL_AD_REASON_OFFSET + TLSAlert.noApplicationProtocol { return .alpn }
        if entry.reason >= SSL_AD_REASON_OFFSET {
            return .tls("the peer sent the alert \(TLSAlert.name(entry.reason - SSL_AD_REASON_OFFSET))")
        }
        return .tls(Self.explain(entry))
    }

    private static func explain(_ entry: OpenSSLErrorQueue.Entry) -> String {
        switch entry.reason {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the peer presented no certificate"
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_UNKNOWN_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW:
            "unsupported protocol version: the peer does not speak TLS 1.3"
        case SSL_R_WRONG_VERSION_NUMBER: "not TLS: a record has no TLS version"
        case SSL_R_NO_SHARED_CIPHER: "no cipher suite in common"
        case SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SHARED_GROUPS: "no key exchange group in common"
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "a record was forged or damaged"
        case SSL_R_EXCESSIVE_MESSAGE_SIZE:
            "the peer's certificates are more than \(TLSContext.peerChainBytesMax) bytes, or a message is too large"
        default: entry.text
        }
    }
}

// MARK: - Called by libssl

extension TLSEngine {
    private static func of(_ ssl: OpaquePointer?) -> Unmanaged<TLSEngine>? {
        SSL_get_ex_data(ssl, exIndex).map { .fromOpaque($0) }
    }

    /// 1 accepts. The error set on refusal chooses the alert: CERT_REJECTED gives `bad_certificate`.
    static func verifyPeer(_ store: OpaquePointer?) -> Int32 {
        guard let engine = of(culvert_X509_STORE_CTX_ssl(store)) else { return 0 }
        return engine._withUnsafeGuaranteedRef { engine in
            switch engine.verdict(on: store) {
            case .accept(let id):
                engine.verified = id
                X509_STORE_CTX_set_error(store, X509_V_OK)
                return 1
            case .refuse(let reason):
                engine.flaw = .refused(reason)
                X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
                return 0
            }
        }
    }

    private func verdict(on store: OpaquePointer?) -> TLSPeerVerdict {
        let count = Int(culvert_chain_count(store))
        guard 1...TLSContext.peerCertificatesMax ~= count else {
            return .refuse("\(count) certificates, at most \(TLSContext.peerCertificatesMax) are read")
        }
        var chain: [[UInt8]] = []
        chain.reserveCapacity(count)
        for index in 0..<count {
            let certificate = culvert_chain_at(store, Int32(index))
            let length = Int(i2d_X509(certificate, nil))
            guard length > 0, length <= TLSContext.peerChainBytesMax else { return .refuse("unreadable certificate") }
            chain.append(
                [UInt8](unsafeUninitializedCapacity: length) { buffer, written in
                    var next = buffer.baseAddress
                    written = Int(i2d_X509(certificate, &next))
                })
        }
        return context.verify(chain)
    }

    /// Without the extension libssl would not ask `selectProtocol` at all. A client of an older TLS is left to libssl,
    /// whose alert is the better one.
    static func checkClientHello(_ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?) -> Int32 {
        var bytes: UnsafePointer<UInt8>?
        var length = 0
        let isTLS13 = SSL_client_hello_get0_ext(ssl, UInt32(TLSEXT_TYPE_supported_versions), &bytes, &length) == 1
        let type = UInt32(TLSEXT_TYPE_application_layer_protocol_negotiation)
        if !isTLS13 || SSL_client_hello_get0_ext(ssl, type, &bytes, &length) == 1 { return SSL_CLIENT_HELLO_SUCCESS }
        of(ssl)?._withUnsafeGuaranteedRef { $0.flaw = .alpn }
        alert?.pointee = TLSAlert.noApplicationProtocol
        return SSL_CLIENT_HELLO_ERROR
    }

    /// `offered` is a list of names, each behind one byte of length; libssl has checked that it is well formed.
    static func selectProtocol(
        _ ssl: OpaquePointer?, _ offered: UnsafePointer<UInt8>?, _ length: Int,
        _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ chosenLength: UnsafeMutablePointer<UInt8>?
    ) -> Int32 {
        var rest = UnsafeBufferPointer(start: offered, count: length)[...]
        while let count = rest.first.map(Int.init), rest.count > count {
            let name = UnsafeBufferPointer(rebasing: rest.dropFirst().prefix(count))
            if name.elementsEqual("h2".utf8) {
                chosen?.pointee = name.baseAddress
                chosenLength?.pointee = 2
                return SSL_TLSEXT_ERR_OK
            }
            rest = rest.dropFirst(1 + count)
        }
        of(ssl)?._withUnsafeGuaranteedRef { $0.flaw = .alpn }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }

    /// Reads from `input`, writes to `output`; a write never blocks.
    nonisolated(unsafe) private static let bioMethod: OpaquePointer = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "culvert") else {
            preconditionFailure("OpenSSL is out of memory")
        }
        BIO_meth_set_write_ex(method) { bio, bytes, count, written in
            guard let engine = BIO_get_data(bio), let bytes else { return 0 }
            Unmanaged<TLSEngine>.fromOpaque(engine)._withUnsafeGuaranteedRef {
                $0.output.append(bytes, count: count)
            }
            written?.pointee = count
            return 1
        }
        BIO_meth_set_read_ex(method) { bio, bytes, count, taken in
            guard let engine = BIO_get_data(bio), let bytes else { return 0 }
            let part = Unmanaged<TLSEngine>.fromOpaque(engine)._withUnsafeGuaranteedRef {
                $0.takeInput(bytes, count)
            }
            guard part > 0 else {
                culvert_BIO_retry_read(bio)
                return 0
            }
            culvert_BIO_clear_retry(bio)
            taken?.pointee = part
            return 1
        }
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return method
    }()

    private func takeInput(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
        let part = min(count, input.count)
        guard part > 0, let from = input.baseAddress else { return 0 }
        bytes.copyMemory(from: from, byteCount: part)
        input = UnsafeRawBufferPointer(rebasing: input[part...])
        return part
    }
}
