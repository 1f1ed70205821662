import COpenSSL
import Glibc
import HTTP2Frames
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE

/// Says to a pod's 15008 exactly what a test wants: TLS by OpenSSL with a certificate of the mesh, HTTP/2 by hand. Its calls wait,
/// for at most ten seconds.
final class Attacker {
    enum End: Equatable {
        /// In good order, or as good as TLS goes: close_notify, or FIN alone.
        case closed
        case reset
        /// It is still there.
        case none
    }

    /// Set before anything is said in TLS.
    private(set) var descriptor: Int32
    private var ssl: OpaquePointer?
    private var received: [UInt8] = []
    /// Plaintext, in bytes.
    private(set) var sent = 0
    /// Spent in TLS and in the kernel, on a CPU: what it takes to make up frames is the test's way of doing it.
    private(set) var time: Duration = .zero
    private(set) var end = End.none

    /// Connects, and does nothing more.
    init(from host: TestNetwork.Host, to address: SocketAddress) throws {
        descriptor = try host.namespace.run { try TestConnection.connect(to: address) }.release()
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            var patience = timeval(tv_sec: 10, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { close() }

    func close() {
        if let ssl { SSL_free(ssl) }
        ssl = nil
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    /// TLS is set up as a member of the mesh, or `end` says how it was refused.
    func authenticate(_ svid: X509SVID) throws {
        let context = SSL_CTX_new(TLS_client_method())
        defer { SSL_CTX_free(context) }
        let certificate = try svid.certificatesDER()[0]
        let key = try svid.privateKeyDER()
        SSL_CTX_use_certificate_ASN1(context, Int32(certificate.count), certificate)
        SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, context, key, key.count)
        let alpn = [2] + Array("h2".utf8)
        SSL_CTX_set_alpn_protos(context, alpn, UInt32(alpn.count))
        ssl = SSL_new(context)
        SSL_set_fd(ssl, descriptor)
        note(timed { SSL_connect(ssl) })
    }

    /// The connection preface; SETTINGS that acknowledge those of the server put its limits into force.
    func greet(settings: [UInt8] = [], acknowledges: Bool = true) {
        send(Frame.preface + Frame(type: 4, payload: settings).bytes)
        if acknowledges { send(Frame(type: 4, flags: 1).bytes) }
    }

    /// `false` when the connection is no more.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        for start in stride(from: 0, to: bytes.count, by: 1 << 20) where end == .none {
            let part = min(1 << 20, bytes.count - start)
            let result = timed {
                bytes[start..<start + part].withUnsafeBytes { SSL_write(ssl, $0.baseAddress, Int32(part)) }
            }
            note(result)
            sent += max(0, Int(result))
        }
        return end == .none
    }

    /// Without TLS.
    @discardableResult
    func sendPlainly(_ bytes: [UInt8]) -> Bool {
        let result = timed { Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
        if result < 0 { end = .reset }
        sent += max(0, result)
        return end == .none
    }

    /// What the server said until it closed the connection, or until `enough` of it was seen.
    func answer(until enough: ([Frame]) -> Bool = { _ in false }) -> [Frame] {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while end == .none, !enough(Frame.parse(received)) {
            let count = timed { SSL_read(ssl, &buffer, Int32(buffer.count)) }
            guard count > 0 else {
                note(count)
                // It was silent for ten seconds.
                if end == .none { break }
                continue
            }
            received += buffer.prefix(Int(count))
        }
        return Frame.parse(received)
    }

    /// What was said so far.
    func forget() { received = [] }

    /// Reads without TLS until the server closes the connection.
    func awaitEnd() {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while end == .none {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count <= 0 else { continue }
            if count == 0 { end = .closed } else if errno == ECONNRESET { end = .reset } else { return }
        }
    }

    private func timed<R>(_ call: () -> R) -> R {
        let before = Usage.timeOfThread
        defer { time += Usage.timeOfThread - before }
        return call()
    }

    private func note(_ result: Int32) {
        guard result <= 0 else { return }
        let code = errno
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        case SSL_ERROR_SYSCALL where code == ECONNRESET || code == EPIPE: end = .reset
        case SSL_ERROR_SYSCALL where code == EAGAIN: break
        default: end = .closed
        }
        ERR_clear_error()
    }
}

extension Frame {
    static func connect(_ stream: UInt32, to authority: String, ends: Bool = false) -> Frame {
        .headers(stream, [(":method", "CONNECT"), (":authority", authority)], ends: ends)
    }

    static func reset(_ stream: UInt32, code: UInt8 = 8) -> Frame {
        Frame(type: 3, stream: stream, payload: [0, 0, 0, code])
    }

    static func windowUpdate(_ stream: UInt32, by increment: UInt32) -> Frame {
        Frame(type: 8, stream: stream, payload: word(increment))
    }

    /// Of GOAWAY.
    var goAwayCode: UInt8? { type == 7 && payload.count >= 8 ? payload[7] : nil }
}
