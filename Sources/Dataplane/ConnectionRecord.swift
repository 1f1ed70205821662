public import IPAddressing
public import SPIFFE

/// What became of one connection: written once, when it ends. Refusals under load share records (`count`).
public struct ConnectionRecord: Sendable {
    public enum Direction: String, Sendable, CaseIterable {
        case inbound
        case outbound
    }

    public enum Security: String, Sendable, CaseIterable {
        case mutualTLS = "mutual_tls"
        case plaintext = "none"
    }

    public var direction: Direction
    public var security: Security
    /// The pod on this node.
    public var pod: Pod.Name
    public var source: SocketAddress?
    /// Where the bytes went: the peer pod, the application, or the plaintext destination.
    public var destination: SocketAddress?
    /// The CONNECT authority, for tunnelled connections.
    public var authority: String?
    public var sourceIdentity: SPIFFEID?
    public var destinationIdentity: SPIFFEID?
    public var destinationWorkload: String?
    public var destinationService: String?
    public var tlsVersion: String?
    public var cipher: String?
    /// By the workload on this node.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var duration: Duration = .zero
    /// `nil` when both sides ended the connection in order.
    public var failure: ConnectionFailure?
    /// Under load, refusals of one kind are written together once a second: how many this record stands for.
    public var count: UInt64 = 1

    init(direction: Direction, security: Security, pod: Pod.Name, source: SocketAddress?) {
        self.direction = direction
        self.security = security
        self.pod = pod
        self.source = source
    }
}

/// Why a connection was refused or broke off.
public struct ConnectionFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The classes that ztunnel's `response_flags` distinguish.
    public enum Kind: String, Sendable, CaseIterable {
        case denied = "DENY"
        /// By a pod of a strict namespace.
        case plaintextRefused = "PLAINTEXT_REFUSED"
        case connect = "CONNECT"
        case tls = "TLS_FAILURE"
        case http2 = "H2_HANDSHAKE_FAILURE"
        case identity = "IDENTITY_ERROR"
        /// The peer was trusted when the connection was made.
        case revoked = "CERT_REVOKED"
        case timeout = "TIMEOUT"
        case drained = "DRAIN"
        case reset = "RESET"
        case overload = "OVERLOAD"
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}

/// Receives every record on the event loop's thread: it must neither block nor call back.
public typealias RecordSink = @Sendable (ConnectionRecord) -> Void
