/// Who protects the records of a connection after its handshake.
public enum TLSRecords: Sendable, Equatable {
    /// Culvert's own record layer on libcrypto's AEADs; `vectorAES`: or on those of Intel's multi-buffer library, where it is
    /// installed and the CPU has VAES and AVX-512.
    case own(vectorAES: Bool)
    /// libssl, as for the handshake.
    case libssl
}
