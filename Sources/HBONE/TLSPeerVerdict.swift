public import SPIFFE

/// The answer of a context's `verify`.
public enum TLSPeerVerdict: Sendable {
    case accept(SPIFFEID)
    /// The reason is for our log; the peer gets the alert `bad_certificate`.
    case refuse(String)
}
