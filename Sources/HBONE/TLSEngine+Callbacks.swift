import COpenSSL
import Glibc
import SPIFFE

// What libssl calls.
extension TLSEngine {
    private static func of(_ ssl: OpaquePointer?) -> Unmanaged<TLSEngine>? {
        SSL_get_ex_data(ssl, exIndex).map { .fromOpaque($0) }
    }

    /// 1 accepts. The error set on refusal chooses the alert: CERT_REJECTED gives `bad_certificate`.
    static func verifyPeer(_ store: OpaquePointer?) -> Int32 {
        guard let engine = of(culvert_X509_STORE_CTX_ssl(store)) else { return 0 }
        return engine._withUnsafeGuaranteedRef { engine in
            let chain: [[UInt8]]
            let verdict: TLSPeerVerdict
            switch engine.peerChain(in: store) {
            case .success(let certificates):
                chain = certificates
                verdict = engine.context.verify(certificates)
            case .failure(let unreadable):
                chain = []
                verdict = .refuse(unreadable.reason)
            }
            switch verdict {
            case .accept(let id):
                engine.verified = (id, chain)
                X509_STORE_CTX_set_error(store, X509_V_OK)
                return 1
            case .refuse(let reason):
                engine.flaw = .refused(reason)
                X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
                return 0
            }
        }
    }

    private struct UnreadableChain: Error {
        let reason: String
    }

    private func peerChain(in store: OpaquePointer?) -> Result<[[UInt8]], UnreadableChain> {
        let count = Int(culvert_chain_count(store))
        guard 1...TLSContext.peerCertificatesMax ~= count else {
            let reason = "\(count) certificates, at most \(TLSContext.peerCertificatesMax) are read"
            return .failure(UnreadableChain(reason: reason))
        }
        var chain: [[UInt8]] = []
        chain.reserveCapacity(count)
        for index in 0..<count {
            let certificate = culvert_chain_at(store, Int32(index))
            let length = Int(i2d_X509(certificate, nil))
            guard length > 0, length <= TLSContext.peerChainBytesMax else {
                return .failure(UnreadableChain(reason: "unreadable certificate"))
            }
            chain.append(
                [UInt8](unsafeUninitializedCapacity: length) { buffer, written in
                    var next = buffer.baseAddress
                    written = Int(i2d_X509(certificate, &next))
                })
        }
        return .success(chain)
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
    nonisolated(unsafe) static let bioMethod: OpaquePointer = {
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

    /// CLIENT_TRAFFIC_SECRET_0 and SERVER_TRAFFIC_SECRET_0 go to the engine, all others nowhere; what is decoded is wiped.
    static func keyLogged(_ ssl: OpaquePointer?, _ line: UnsafePointer<CChar>?) {
        guard let engine = of(ssl), let line else { return }
        for (label, ofClient) in [("CLIENT_TRAFFIC_SECRET_0 ", true), ("SERVER_TRAFFIC_SECRET_0 ", false)]
        where strncmp(line, label, label.utf8.count) == 0 {
            // The label, the client's random as 64 digits, a space, the secret.
            decodeHexadecimal(line + label.utf8.count + 65) { secret in
                engine._withUnsafeGuaranteedRef { $0.learn(secret, ofClient: ofClient) }
            }
        }
    }

    private static func decodeHexadecimal(_ digits: UnsafePointer<CChar>, _ body: (UnsafeRawBufferPointer) -> Void) {
        func value(_ digit: CChar) -> UInt8 { UInt8(bitPattern: digit < 0x3a ? digit - 0x30 : (digit | 0x20) - 0x57) }
        let count = min(strlen(digits) / 2, 64)
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 16) { buffer in
            for index in 0..<count { buffer[index] = value(digits[2 * index]) << 4 | value(digits[2 * index + 1]) }
            body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            OPENSSL_cleanse(buffer.baseAddress, buffer.count)
        }
    }
}
