import CNGHTTP2

// What its owner needs to know to bound it, and how it is cut off.
extension HBONEConnection {
    /// The peer has begun a header block that is not complete: nothing else can come before it is.
    public final var isInHeaderBlock: Bool {
        frames.isInHeaderBlock
            || (frames.isInFrame
                && (frames.header.type == FrameType.headers || frames.header.type == FrameType.continuation))
    }

    /// The peer lets nothing more be sent on any stream.
    public final var isWindowExhausted: Bool { peer != nil && sendWindow <= 0 }

    /// Memory of the pending output, in bytes.
    public final var outputFootprint: Int { engine.output.footprint }

    /// From inside a hook: the connection ends when the outermost call returns, and the peer gets GOAWAY with this code.
    public final func cutOff(because reason: String, code: UInt32) { fail(reason, code) }

    /// Nonzero ends the session.
    final func boundHeaderBlock() -> Int32 {
        guard fields.isBomb else { return 0 }
        fail("a header block without measure", HTTP2ErrorCode.enhanceYourCalm)
        return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    /// Frames that HTTP/2 does not know: to be ignored, but not without end.
    final func boundUnknownFrame(_ header: FrameHeader) {
        if header.type > FrameType.continuation { _ = countIdle() }
    }

    /// nghttp2 queues what the peer makes it say, and the peer decides whether it is ever read.
    final func boundOwedFrames() {
        guard nghttp2_session_get_outbound_queue_size(session) > limits.owedFramesMax else { return }
        fail("the peer asks for more than it reads", HTTP2ErrorCode.enhanceYourCalm)
    }
}
