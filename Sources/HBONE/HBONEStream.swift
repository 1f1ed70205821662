/// What the connection knows of one stream between its HEADERS and its close.
final class HBONEStream {
    let id: Int32
    /// The subclass knows of it, and will be told of its close.
    var isReported: Bool
    /// Client: our HEADERS left. Server: always.
    var isOpened: Bool
    /// Server: accepted or refused.
    var isAnswered = false
    /// Client: the final response came.
    var isResponded = false
    /// 200 was sent or received: our body may go.
    var bodyMayGo = false
    /// nghttp2 will not ask for our body again until it is resumed.
    var isDeferred = false
    /// `resumeBody` came while the body was being read.
    var resumeAfterRead = false
    /// Nothing more is passed to the subclass but the close.
    var isMuted = false
    /// RST_STREAM to be sent once our END_STREAM left: the peer need not send on (RFC 9113 8.1).
    var resetAfterEnd = false
    /// The peer's END_STREAM came.
    var peerEnded = false
    /// Passed to the subclass and not yet consumed, in bytes.
    var unconsumed = 0

    init(id: Int32, isReported: Bool, isOpened: Bool) {
        self.id = id
        self.isReported = isReported
        self.isOpened = isOpened
    }
}
