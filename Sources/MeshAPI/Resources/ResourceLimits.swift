/// How much one resource may hold. What is larger is refused by name.
enum ResourceLimits {
    /// In bytes; a uid names cluster, kind, namespace and name.
    static let uidBytes = 1024
    /// In bytes: a DNS name, which every name of a Kubernetes object fits in.
    static let nameBytes = 253
    static let addresses = 64
    static let services = 1024
    static let ports = 4096
    static let subjectAltNames = 256
    /// Two for each node of a large cluster.
    static let ranges = 32_768

    /// Throws unless the text is visible ASCII, has at most `limit` bytes, and one at least if it is required.
    ///
    /// ASCII because names are keys: two that differ in bytes must not be equal as Swift's strings.
    static func check(
        _ text: String, _ field: String, of resource: String, limit: Int = nameBytes, required: Bool = false
    ) throws(ResourceError) {
        guard !required || !text.isEmpty else { throw ResourceError(resource, field, "is empty") }
        guard text.utf8.count <= limit else {
            throw ResourceError(resource, field, "has \(text.utf8.count) bytes; at most \(limit) are allowed")
        }
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw ResourceError(resource, field, "holds a byte that is not visible ASCII")
        }
    }

    static func check(_ count: Int, _ field: String, of resource: String, limit: Int) throws(ResourceError) {
        guard count <= limit else {
            throw ResourceError(resource, field, "has \(count) entries; at most \(limit) are allowed")
        }
    }
}
