/// Why a connection ended; its text is for the operator's log.
public enum ConnectionEnd: Sendable, Equatable, CustomStringConvertible {
    /// Closed in good order: by `close()`, by the peer's close_notify, or after a graceful GOAWAY and the last stream.
    case clean
    /// TLS failed here, or the peer sent an alert.
    case tls(String)
    /// The context's `verify` refused the peer, for this reason.
    case peerRefused(String)
    /// The peer does not speak HTTP/2: ALPN `h2` was not agreed.
    case alpn
    /// The peer broke HTTP/2, as we see it.
    case http2(String)
    /// The peer ended the connection with this error code.
    case goAway(code: UInt32)
    /// End of file before the handshake was done: a port scan, or a peer that gave up.
    case handshakeAbandoned
    /// End of file without close_notify.
    case peerClosed

    public var description: String {
        switch self {
        case .clean: "closed"
        case .tls(let reason): "TLS: \(reason)"
        case .peerRefused(let reason): "peer refused: \(reason)"
        case .alpn: "TLS: the peer did not agree to ALPN h2"
        case .http2(let reason): "HTTP/2: \(reason)"
        case .goAway(let code): "HTTP/2: the peer went away with \(HTTP2ErrorCode.name(code))"
        case .handshakeAbandoned: "the peer closed the connection during the TLS handshake"
        case .peerClosed: "the peer closed the connection without saying so (no close_notify)"
        }
    }
}
