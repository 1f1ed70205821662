/// What one HBONE connection may take of this process. The defaults are those that ztunnel announces.
public struct HBONELimits: Sendable {
    /// What a peer may send on one stream before the application took it, in bytes.
    public var streamWindow: Int32 = 4 << 20
    /// What it may send in all before we have read it. It is given back whoever holds the bytes then, lest one application that does
    /// not read stop the others of its tunnel; what all of them hold is for the owner to bound.
    public var connectionWindow: Int32 = 16 << 20
    /// The largest frame that a peer may send, in bytes.
    public var maxFrameSize: UInt32 = 1 << 20
    /// Header bytes of one request or response, counted as RFC 9113 6.5.2 does (name, value and 32 for each field).
    public var clientHeaderBytesMax = 16 << 10
    public var serverHeaderBytesMax = 64 << 10
    /// Fields of one request or response, whatever their size.
    public var headerFieldsMax = 128
    /// Streams that a client may have open at once at our server.
    public var maxConcurrentStreams: UInt32 = 200
    /// Ciphertext that may wait for the socket before `produce()` stops pulling bodies, in bytes.
    public var pendingOutputMax = 256 << 10
    /// PING and SETTINGS acknowledgements that may wait for the socket; a peer that makes us owe more is cut off.
    public var pendingAcknowledgementsMax = 256
    /// Frames of any kind but DATA that may wait for the socket: a peer that makes us owe more, and does not read, is cut off.
    /// An honest one makes us owe two a stream.
    public var owedFramesMax = 2048
    /// Entries of one SETTINGS frame.
    public var settingsEntriesMax = 32
    /// Frames in a row without effect (empty DATA, PRIORITY, trailers) before the peer is cut off.
    public var idleFramesMax = 1000
    /// Streams that a client may reset: at once, and then per second. Generous, since an application that aborts its
    /// connections makes an honest tunnel reset as fast.
    public var streamResetBurst: UInt64 = 10_000
    public var streamResetsPerSecond: UInt64 = 2000

    public init() {}
}
