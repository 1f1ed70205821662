/// What the connection knows of one stream between its HEADERS and its close.
///
/// There are as many as there are tunnelled connections, most of them idle: the flags stand together, so that they share words.
public final class HBONEStream {
    public let id: Int32

    /// The subclass knows of it, and will be told of its close.
    final var isReported: Bool
    /// Client: our HEADERS left. Server: always.
    final var isOpened: Bool
    /// Server: accepted or refused.
    final var isAnswered = false
    final var isAccepted = false
    /// Client: the final response came.
    final var isResponded = false
    /// Our HEADERS left: the body may go behind them. A client's need not wait for the answer.
    final var bodyMayGo = false
    /// 200 was received, or has left.
    public final var hasAnswer = false
    /// Our body is at its end; nghttp2 sends END_STREAM.
    final var bodyEnded = false
    /// Nothing more is passed to the subclass but the close.
    final var isMuted = false
    /// RST_STREAM to be sent once our END_STREAM left: the peer need not send on (RFC 9113 8.1).
    final var resetAfterEnd = false
    /// The peer's END_STREAM came.
    final var peerEnded = false
    final var isClosed = false
    final var owesWindowUpdate = false
    /// In the list of streams that have something to send.
    final var isReady = false
    /// The last read filled its room: the next may be large.
    final var isBulk = false

    /// Passed to the subclass and not yet consumed, in bytes.
    final var unconsumed = 0
    /// Consumed, and not yet given back to the peer by a WINDOW_UPDATE.
    final var unreturned = 0
    /// What the peer may still send, and what we may.
    final var receiveWindow: Int
    final var sendWindow: Int
    final var nextReady: HBONEStream?
    /// The subclass's own: handed back with every hook that moves bytes.
    public final var owner: AnyObject?

    init(id: Int32, isReported: Bool, isOpened: Bool, receiveWindow: Int, sendWindow: Int) {
        self.id = id
        self.isReported = isReported
        self.isOpened = isOpened
        self.receiveWindow = receiveWindow
        self.sendWindow = sendWindow
    }

    final var maySend: Bool { bodyMayGo && !bodyEnded && !isMuted && !isClosed }
}

/// Streams with something to send, each once, in the order in which they said so.
struct ReadyStreams {
    private var first: HBONEStream?
    private var last: HBONEStream?

    var isEmpty: Bool { first == nil }

    mutating func append(_ stream: HBONEStream) {
        guard !stream.isReady else { return }
        stream.isReady = true
        if let last { last.nextReady = stream } else { first = stream }
        last = stream
    }

    mutating func popFirst() -> HBONEStream? {
        guard let stream = first else { return nil }
        first = stream.nextReady
        if first == nil { last = nil }
        stream.nextReady = nil
        stream.isReady = false
        return stream
    }

    mutating func removeAll() { while popFirst() != nil {} }
}
