import KubernetesAPI

/// Where the trust bundle's ConfigMap has to be written or taken away: a value without I/O.
///
/// One in our own namespace, from which our proxies recognise the authority, and one in every enrolled namespace, for workloads that
/// check SVIDs themselves. Whoever edits one of them finds it as it was; one of that name that is not ours is left alone.
struct BundlePlacement {
    static let pemKey = "bundle.pem"
    static let jwksKey = "bundle.json"
    static let sequenceKey = "culvert.dev/bundle-sequence"
    static let managerLabel = "app.kubernetes.io/managed-by"
    static let manager = "culvert-ca"

    /// The ConfigMap's.
    let name: String
    let home: String

    /// What is to be in it; nil until there is a bundle.
    var content: Content?
    /// Nil until they are known: nothing is taken away before.
    var enrolled: Set<String>?
    private(set) var present: [String: ConfigMap] = [:]
    private var isPresentKnown = false

    struct Content: Equatable {
        let pem: String
        let jwks: String
        let sequence: UInt64
    }

    enum Step: Equatable {
        /// Where there is none.
        case create(ConfigMap)
        /// A merge patch of the object as it was seen: what somebody has added to the data goes, other people's labels and annotations
        /// stay. It is refused when somebody has written the object since.
        case repair(namespace: String, JSONValue)
        case remove(namespace: String, uid: String)
    }

    init(name: String, home: String) {
        self.name = name
        self.home = home
    }

    mutating func take(_ event: InformerEvent<ConfigMap>) {
        switch event {
        case .synced(let all):
            isPresentKnown = true
            for map in all where map.name == name { present[map.namespace] = map }
        case .changed(let changes):
            for change in changes where change.object.name == name {
                if case .deleted(let map) = change {
                    present[map.namespace] = nil
                } else {
                    present[change.object.namespace] = change.object
                }
            }
        case .interrupted, .resumed: break
        }
    }

    /// What is to be done, in the order of the namespaces; our own comes first.
    var steps: [Step] {
        guard isPresentKnown, let content else { return [] }
        let wanted = (enrolled ?? []).union([home])
        let writes = ([home] + wanted.subtracting([home]).sorted()).compactMap { namespace -> Step? in
            let desired = desired(content, in: namespace)
            guard let there = present[namespace] else { return .create(desired) }
            guard Self.isOurs(there) || namespace == home, !matches(there, desired) else { return nil }
            // Another replica knows more.
            if Self.isOurs(there), let sequence = Self.sequence(there), sequence > content.sequence { return nil }
            return .repair(namespace: namespace, Self.patch(there, to: desired))
        }
        guard enrolled != nil else { return writes }
        let removals = present.values.filter { !wanted.contains($0.namespace) && Self.isOurs($0) }
        return writes
            + removals.sorted { $0.namespace < $1.namespace }.map {
                .remove(namespace: $0.namespace, uid: $0.metadata.uid)
            }
    }

    private func desired(_ content: Content, in namespace: String) -> ConfigMap {
        ConfigMap(
            metadata: ObjectMeta(
                name: name, namespace: namespace, labels: [Self.managerLabel: Self.manager],
                annotations: [Self.sequenceKey: String(content.sequence)]),
            data: [Self.pemKey: content.pem, Self.jwksKey: content.jwks])
    }

    private static func patch(_ map: ConfigMap, to desired: ConfigMap) -> JSONValue {
        let strangers = map.data.keys.filter { desired.data[$0] == nil }.sorted()
        let data = desired.data.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, .string($0.value)) }
        return [
            "metadata": [
                "resourceVersion": .string(map.metadata.resourceVersion),
                "labels": .strings(desired.metadata.labels), "annotations": .strings(desired.metadata.annotations),
            ],
            "data": .object(strangers.map { .init($0, .null) } + data),
        ]
    }

    /// Others may add labels and annotations of their own, but no data.
    private func matches(_ map: ConfigMap, _ desired: ConfigMap) -> Bool {
        map.data == desired.data && Self.isOurs(map) && Self.sequence(map) == content?.sequence
    }

    private static func isOurs(_ map: ConfigMap) -> Bool { map.metadata.labels[managerLabel] == manager }

    private static func sequence(_ map: ConfigMap) -> UInt64? {
        map.metadata.annotations[sequenceKey].flatMap { UInt64($0) }
    }
}
