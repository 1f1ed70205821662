/// Why a `TLSContext` could not be made. No text holds key material.
public enum TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The position in the chain, 0 for the leaf, and OpenSSL's reason.
    case certificate(at: Int, String)
    case noCertificate
    case privateKey(String)
    /// The private key is not that of the leaf.
    case keyMismatch
    case library(String)

    public var description: String {
        switch self {
        case .certificate(0, let reason): "the leaf certificate cannot be used: \(reason)"
        case .certificate(let index, let reason): "certificate \(index) of the chain cannot be used: \(reason)"
        case .noCertificate: "the certificate chain is empty"
        case .privateKey(let reason): "the private key cannot be used: \(reason)"
        case .keyMismatch: "the private key does not belong to the leaf certificate"
        case .library(let reason): "OpenSSL refused its configuration: \(reason)"
        }
    }
}
