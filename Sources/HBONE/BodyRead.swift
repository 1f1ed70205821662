/// What `readBody` did.
public enum BodyRead: Sendable, Equatable {
    /// So many bytes were written to the front of the buffer; 0 is taken as `blocked`.
    case bytes(Int)
    /// Nothing now: `resumeBody` says when there is more.
    case blocked
    /// The application will send no more: END_STREAM, half-closing the stream.
    case end
    /// The application's connection broke: the stream is reset with CONNECT_ERROR (RFC 9113 8.5).
    case failed
}
