/// Why a resource that a peer sent is not taken; goes back to it in the refusal and to our log.
public struct ResourceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The resource's name as it was sent, shortened.
    public let resource: String
    /// The field in the message's own spelling; empty when the resource as a whole is at fault.
    public let field: String
    public let reason: String

    init(_ resource: String, _ field: String, _ reason: String) {
        self.resource = resource.shortened(to: 256)
        self.field = field
        self.reason = reason
    }

    public var description: String {
        field.isEmpty ? "\"\(resource)\": \(reason)" : "\"\(resource)\": \(field): \(reason)"
    }
}

extension String {
    /// The longest beginning of at most `limit` bytes that ends between two characters' bytes.
    func shortened(to limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: limit)
        while end > utf8.startIndex, utf8[end] & 0xc0 == 0x80 { end = utf8.index(before: end) }
        return String(self[..<end])
    }
}
