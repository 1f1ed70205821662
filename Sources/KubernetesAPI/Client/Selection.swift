/// Which objects of a kind are listed and watched.
public struct Selection: Sendable, Equatable {
    /// All namespaces where it is nil.
    public var namespace: String?
    /// As `kubectl -l` takes it: `app=web,tier in (a,b)`.
    public var labels: String?
    /// As `kubectl --field-selector` takes it: `spec.nodeName=node-1`.
    public var fields: String?

    public init(namespace: String? = nil, labels: String? = nil, fields: String? = nil) {
        self.namespace = namespace
        self.labels = labels
        self.fields = fields
    }

    public static let all = Selection()

    /// The pods that are placed on a node.
    public static func onNode(_ name: String) -> Selection { Selection(fields: "spec.nodeName=\(name)") }

    /// One object by name.
    public static func named(_ name: String, namespace: String? = nil) -> Selection {
        Selection(namespace: namespace, fields: "metadata.name=\(name)")
    }

    var query: [(String, String)] {
        [("labelSelector", labels), ("fieldSelector", fields)].compactMap { name, value in value.map { (name, $0) } }
    }
}
