import COpenSSL

/// The cipher suites of TLS 1.3 that we agree to (RFC 8446 B.4), and what the record layer needs to know of them.
enum TLSCipherSuite: UInt16, CaseIterable {
    case aes128GCM = 0x1301
    case aes256GCM = 0x1302
    case chaCha20Poly1305 = 0x1303

    var keyCount: Int { self == .aes128GCM ? 16 : 32 }

    /// Of the suite's hash, which is the length of its secrets, too.
    var hashCount: Int { self == .aes256GCM ? 48 : 32 }

    var hash: OpaquePointer { self == .aes256GCM ? EVP_sha384() : EVP_sha256() }

    /// As libcrypto fetches it.
    var name: StaticString {
        switch self {
        case .aes128GCM: "AES-128-GCM"
        case .aes256GCM: "AES-256-GCM"
        case .chaCha20Poly1305: "ChaCha20-Poly1305"
        }
    }
}
