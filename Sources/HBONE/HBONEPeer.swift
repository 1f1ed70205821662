public import SPIFFE

/// Who is at the other end, and what protects the bytes between.
public struct HBONEPeer: Sendable, Equatable {
    /// As the context's `verify` answered.
    public let id: SPIFFEID
    /// What `verify` was asked about: leaf first, DER, as the peer sent it.
    public let certificateChainDER: [[UInt8]]
    /// "TLSv1.3"
    public let tlsVersion: String
    /// As IANA names it: "TLS_AES_128_GCM_SHA256".
    public let cipher: String
    /// "X25519", "P-256", "X25519MLKEM768"; `nil` if OpenSSL does not say.
    public let group: String?
}
