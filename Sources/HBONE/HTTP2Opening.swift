/// The first bytes of plaintext that a client sent, kept to tell the operator what it speaks if it is not HTTP/2.
struct HTTP2Opening {
    private var bytes: [UInt8] = []
    private var isFull = false

    mutating func note(_ data: UnsafeRawBufferPointer) {
        guard !isFull else { return }
        bytes.append(contentsOf: data.prefix(8 - bytes.count))
        isFull = bytes.count == 8
    }

    var notHTTP2: String? { TLSOpening.beginsHTTP1Request(bytes) ? "got an HTTP/1 request inside TLS" : nil }
}
