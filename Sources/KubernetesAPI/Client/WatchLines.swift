import NIOCore

/// Cuts a watch's bytes, which come in pieces of any size, into its documents: one per line.
struct WatchLines {
    /// A longer line ends the watch.
    let lineBytesMax: Int

    private var buffer = ByteBuffer()
    /// Of the readable bytes, how many are known to have no line's end.
    private var searched = 0

    init(lineBytesMax: Int) {
        self.lineBytesMax = lineBytesMax
    }

    mutating func append(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole line without its end, empty ones left out; nil until there is one.
    mutating func next() throws -> ByteBuffer? {
        while true {
            let unsearched = buffer.readableBytesView.dropFirst(searched)
            guard let end = unsearched.firstIndex(of: UInt8(ascii: "\n")) else {
                searched = buffer.readableBytes
                guard searched <= lineBytesMax else { throw tooLong }
                return nil
            }
            let length = end - buffer.readerIndex
            guard length <= lineBytesMax else { throw tooLong }
            let line = buffer.readSlice(length: length)
            buffer.moveReaderIndex(forwardBy: 1)
            searched = 0
            // What has been read is given back as soon as it is the larger part.
            if buffer.readableBytes == 0 {
                buffer = ByteBuffer()
            } else if buffer.readerIndex > 1 << 20 {
                buffer.discardReadBytes()
            }
            if let line, line.readableBytes > 0 { return line }
        }
    }

    /// A line has begun and not ended: the connection broke in the middle.
    var isMidLine: Bool { buffer.readableBytes > 0 }

    private var tooLong: KubernetesError { .unusable("a watch event has more than \(lineBytesMax) bytes") }
}
