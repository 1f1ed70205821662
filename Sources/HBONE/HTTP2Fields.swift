import CNGHTTP2

/// Fields to be sent, in one piece of memory that nghttp2 copies from.
struct HTTP2Fields {
    private var bytes: [UInt8] = []
    private var lengths: [(name: Int, value: Int)] = []

    mutating func add(_ name: StaticString, _ value: String) {
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: value.utf8)
        lengths.append((name.utf8CodeUnitCount, value.utf8.count))
    }

    /// Left out if absent, or unfit for a header.
    mutating func add(_ name: StaticString, ifFit value: String?) {
        if let value, ConnectRequest.isValue(value.utf8) { add(name, value) }
    }

    func withFields<R>(_ body: (UnsafePointer<nghttp2_nv>?, Int) -> R) -> R {
        var bytes = bytes
        return bytes.withUnsafeMutableBufferPointer { buffer in
            var offset = 0
            let fields = lengths.map { length in
                let name = buffer.baseAddress.map { $0 + offset }
                let value = name.map { $0 + length.name }
                offset += length.name + length.value
                return nghttp2_nv(
                    name: name, value: value, namelen: length.name, valuelen: length.value,
                    flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
            }
            return fields.withUnsafeBufferPointer { body($0.baseAddress, $0.count) }
        }
    }

    static func request(_ request: ConnectRequest) -> HTTP2Fields {
        var fields = HTTP2Fields()
        fields.add(":method", "CONNECT")
        fields.add(":authority", request.authority)
        fields.add("baggage", ifFit: request.baggage)
        fields.add("forwarded", ifFit: request.forwarded)
        fields.add("traceparent", ifFit: request.traceparent)
        fields.add("x-forwarded-network", ifFit: request.forwardedNetwork)
        return fields
    }

    /// `status` is 100…999.
    static func response(status: Int, reason: String? = nil) -> HTTP2Fields {
        var fields = HTTP2Fields()
        fields.add(":status", String(status))
        if let reason {
            let fit = reason.utf8.prefix(256).map { 0x20...0x7e ~= $0 ? $0 : UInt8(ascii: "?") }
            fields.add("x-culvert-reason", String(decoding: fit, as: UTF8.self))
        }
        return fields
    }
}
