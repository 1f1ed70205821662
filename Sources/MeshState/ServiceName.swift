/// The key of a service: its namespace and its hostname.
public struct ServiceName: Hashable, Sendable {
    public let namespace: String
    public let hostname: String

    public init(namespace: String, hostname: String) {
        self.namespace = namespace
        self.hostname = hostname
    }
}

extension ServiceName: LosslessStringConvertible {
    /// `namespace/hostname`, the resource name in xDS.
    public var description: String { "\(namespace)/\(hostname)" }

    /// Parses `namespace/hostname`: exactly one slash, neither side empty.
    public init?(_ description: String) {
        let parts = description.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
        self.init(namespace: String(parts[0]), hostname: String(parts[1]))
    }
}
