import COpenSSL
import Glibc

/// AES-GCM of Intel's multi-buffer library (Debian: `libipsec-mb1`) on VAES and AVX-512: some four times as fast as OpenSSL
/// 3.0, whose own stops at AVX. Looked for at run time: no dependency, and nothing changes without it.
///
/// It is used only after it gave the same bytes as libcrypto for records of every shape.
struct VectorAES: Sendable {
    /// key, context, out, in, count, nonce, header, header count, tag, tag count
    typealias Cipher =
        @convention(c) (
            UnsafeRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeRawPointer?, UInt64,
            UnsafeRawPointer?, UnsafeRawPointer?, UInt64, UnsafeMutableRawPointer?, UInt64
        ) -> Void
    typealias KeyExpansion = @convention(c) (UnsafeRawPointer?, UnsafeMutableRawPointer?) -> Void

    let expand: KeyExpansion
    let seal: Cipher
    let open: Cipher

    /// What the library's `struct gcm_key_data` (1008 bytes in 1.3) and `struct gcm_context_data` (88 bytes) need, with room.
    static let keyCount = 2048
    static let contextCount = 512

    static func of(_ suite: TLSCipherSuite) -> VectorAES? {
        switch suite {
        case .aes128GCM: aes128
        case .aes256GCM: aes256
        case .chaCha20Poly1305: nil
        }
    }

    private static let aes128 = load("128", .aes128GCM)
    private static let aes256 = load("256", .aes256GCM)

    private static func load(_ bits: String, _ suite: TLSCipherSuite) -> VectorAES? {
        guard culvert_cpu_has_vaes_avx512() != 0, let library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL) else {
            return nil
        }
        func find<T>(_ operation: String, _: T.Type) -> T? {
            dlsym(library, "aes_gcm_\(operation)_\(bits)_vaes_avx512").map { unsafeBitCast($0, to: T.self) }
        }
        guard let expand = find("pre", KeyExpansion.self), let seal = find("enc", Cipher.self),
            let open = find("dec", Cipher.self)
        else { return nil }
        let found = VectorAES(expand: expand, seal: seal, open: open)
        return found.agreesWithLibcrypto(suite) ? found : nil
    }

    /// Another version of the library might lay its structures out differently, or not be what its name says.
    private func agreesWithLibcrypto(_ suite: TLSCipherSuite) -> Bool {
        let key = (0..<UInt8(suite.keyCount)).map { $0 &* 7 &+ 3 }
        var vector = RecordCipher(suite, key: key, iv: Array(1...12), seals: true, vector: self)
        var plain = RecordCipher(suite, key: key, iv: Array(1...12), seals: true, vector: nil)
        var opener = RecordCipher(suite, key: key, iv: Array(1...12), seals: false, vector: self)
        for count in [1, 15, 16, 17, 100, 255, 256, 1024, 4097, 16384] {
            let text = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            var records = [[UInt8]](repeating: [23, 3, 3, 0, 0] + text + [UInt8](repeating: 0, count: 17), count: 2)
            records[0].withUnsafeMutableBytes { _ = vector.seal($0.baseAddress!, count: count, type: 23) }
            records[1].withUnsafeMutableBytes { _ = plain.seal($0.baseAddress!, count: count, type: 23) }
            guard records[0] == records[1] else { return false }
            let opened = records[0].withUnsafeMutableBytes { opener.open($0.baseAddress!, count: count + 17) }
            guard opened == count + 1, records[0][5..<5 + count].elementsEqual(text) else { return false }
        }
        return true
    }
}
