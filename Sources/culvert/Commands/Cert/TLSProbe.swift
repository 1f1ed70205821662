import Authority
import COpenSSL
import Glibc

/// One TLS handshake as a client, to see what a server shows. It verifies nothing and says nothing afterwards.
struct TLSProbe {
    /// PEM files.
    struct Credentials {
        let certificates: String
        let key: String
    }

    /// What the server did with us once its certificates were here.
    enum Reception: Equatable {
        /// It went on to speak.
        case accepted
        /// Its alert, in OpenSSL's words.
        case refused(String)
        case closed
        /// Neither within the time given.
        case silent
    }

    struct Showing {
        /// DER, as sent.
        let chain: [[UInt8]]
        let version: String
        let cipher: String?
        let alpn: String?
        let askedForCertificate: Bool
        let reception: Reception
    }

    let endpoint: TLSEndpoint
    let credentials: Credentials?
    /// For connecting and the handshake together. Looking up a name has the resolver's own limits.
    let limit: Duration

    /// What the server may take to refuse us after our side of a TLS 1.3 handshake is done.
    private static let receptionLimit = Duration.seconds(2)

    /// Filled from OpenSSL's callbacks.
    private final class Capture {
        var chain: [[UInt8]] = []
        var askedForCertificate = false
    }

    func run() throws(CertificateProblem) -> Showing {
        // libssl writes to the socket with write(2).
        signal(SIGPIPE, SIG_IGN)
        let deadline = ContinuousClock.now + limit
        let descriptor = try endpoint.connect(before: deadline)
        defer { close(descriptor) }
        let capture = Capture()
        let context = try context(reporting: capture)
        defer { SSL_CTX_free(context) }
        guard let ssl = SSL_new(context), SSL_set_fd(ssl, descriptor) == 1 else {
            throw problem(reason(), "this is a defect in Culvert")
        }
        defer { SSL_free(ssl) }
        if endpoint.isName {
            _ = endpoint.host.withCString { name in
                SSL_ctrl(
                    ssl, Int32(SSL_CTRL_SET_TLSEXT_HOSTNAME), Int(TLSEXT_NAMETYPE_host_name),
                    UnsafeMutableRawPointer(mutating: name))
            }
        }
        let handshake = drive(ssl, descriptor, before: deadline) { SSL_connect(ssl) }
        guard !capture.chain.isEmpty else { throw failure(of: handshake) }
        var reception = handshake
        if handshake == .accepted {
            let readDeadline = min(deadline, ContinuousClock.now + Self.receptionLimit)
            var byte: UInt8 = 0
            reception = drive(ssl, descriptor, before: readDeadline) { SSL_read(ssl, &byte, 1) }
            // After an error there is nothing to end in good order.
            if reception == .accepted { SSL_shutdown(ssl) }
        }
        return Showing(
            chain: capture.chain, version: String(cString: SSL_get_version(ssl)),
            cipher: SSL_get_current_cipher(ssl).flatMap { SSL_CIPHER_get_name($0) }.map { String(cString: $0) },
            alpn: alpn(ssl), askedForCertificate: capture.askedForCertificate, reception: reception)
    }

    private func context(reporting capture: Capture) throws(CertificateProblem) -> OpaquePointer {
        ERR_clear_error()
        let protocols: [UInt8] = [2] + "h2".utf8
        // 0 is success, for the protocols alone.
        guard let context = SSL_CTX_new(TLS_client_method()),
            SSL_CTX_ctrl(context, Int32(SSL_CTRL_SET_MIN_PROTO_VERSION), Int(TLS1_2_VERSION), nil) == 1,
            SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count)) == 0
        else { throw problem(reason(), "this is a defect in Culvert") }
        let argument = Unmanaged.passUnretained(capture).toOpaque()
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        SSL_CTX_set_cert_verify_callback(
            context,
            { store, argument in
                if let argument {
                    Unmanaged<Capture>.fromOpaque(argument).takeUnretainedValue().chain = TLSProbe.chain(store)
                }
                return 1
            }, argument)
        SSL_CTX_set_cert_cb(
            context,
            { _, argument in
                guard let argument else { return 1 }
                Unmanaged<Capture>.fromOpaque(argument).takeUnretainedValue().askedForCertificate = true
                return 1
            }, argument)
        // A key behind a passphrase is an error, not a question on the terminal.
        SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in 0 }
        if let credentials {
            do { try load(credentials, into: context) } catch {
                SSL_CTX_free(context)
                throw error
            }
        }
        return context
    }

    private func load(_ credentials: Credentials, into context: OpaquePointer) throws(CertificateProblem) {
        guard SSL_CTX_use_certificate_chain_file(context, credentials.certificates) == 1 else {
            throw CertificateProblem(
                file: credentials.certificates, message: "cannot be used as our certificate: \(reason())",
                hint: "--cert is PEM: our certificate first, then its intermediates")
        }
        guard SSL_CTX_use_PrivateKey_file(context, credentials.key, SSL_FILETYPE_PEM) == 1,
            SSL_CTX_check_private_key(context) == 1
        else {
            throw CertificateProblem(
                file: credentials.key, message: "cannot be used as our key: \(reason())",
                hint: "--key is PEM without a passphrase, and belongs to the first certificate of --cert")
        }
    }

    /// Until `step` succeeds, the server ends it, or the time is over.
    private func drive(
        _ ssl: OpaquePointer, _ descriptor: Int32, before deadline: ContinuousClock.Instant, _ step: () -> Int32
    ) -> Reception {
        while true {
            ERR_clear_error()
            errno = 0
            let result = step()
            if result > 0 { return .accepted }
            let code = errno
            let events: Int32
            switch SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ: events = Int32(POLLIN)
            case SSL_ERROR_WANT_WRITE: events = Int32(POLLOUT)
            case SSL_ERROR_ZERO_RETURN: return .closed
            case SSL_ERROR_SYSCALL where ERR_peek_error() == 0:
                return code == 0 ? .closed : .refused(String(cString: strerror(code)))
            default: return .refused(reason())
            }
            guard TLSEndpoint.wait(descriptor, events, before: deadline) else { return .silent }
        }
    }

    private func failure(of handshake: Reception) -> CertificateProblem {
        switch handshake {
        case .silent:
            problem(
                "no TLS handshake within \(limit.inWords)", "give it longer with --timeout, or look whether it hangs")
        case .closed, .accepted:
            problem("the connection was closed before any certificate", "look whether TLS is spoken on that port")
        case .refused(let reason):
            problem("TLS handshake: \(reason)", "look whether TLS 1.2 or 1.3 is spoken on that port, with ALPN h2")
        }
    }

    private func problem(_ message: String, _ hint: String) -> CertificateProblem {
        CertificateProblem(file: endpoint.text, message: message, hint: hint)
    }

    private func alpn(_ ssl: OpaquePointer) -> String? {
        var bytes: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &bytes, &count)
        guard let bytes, count > 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }

    private static func chain(_ store: OpaquePointer?) -> [[UInt8]] {
        (0..<max(0, culvert_chain_count(store))).map { index in
            let certificate = culvert_chain_at(store, index)
            let length = max(0, Int(i2d_X509(certificate, nil)))
            return [UInt8](unsafeUninitializedCapacity: length) { buffer, written in
                var next = buffer.baseAddress
                written = length > 0 ? Int(i2d_X509(certificate, &next)) : 0
            }
        }
    }
}

/// The oldest error of this thread; the others are dropped.
private func reason() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    return ERR_reason_error_string(code).map { String(cString: $0) } ?? "no reason given"
}
