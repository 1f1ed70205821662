/// A cluster of any size, as its API server has it: enrolled namespaces of a hundred pods, Deployments of pods that services lead to,
/// nodes of a hundred pods. Every object is decided by its number, so that a large cluster is known by its sizes.
public struct ClusterLoad: Sendable {
    public static let podsPerNamespace = 100
    public static let enrolmentLabel = "culvert.dev/mtls-enabled"

    public let pods: Int
    public let services: Int
    /// How often each pod was replaced.
    private(set) var generations: [Int]
    private let podTemplate: JSON

    public init(pods: Int, services: Int) throws {
        guard services >= 1, pods >= services else { throw Refusal.badRequest("no service may be without pods") }
        self.pods = pods
        self.services = services
        generations = [Int](repeating: 0, count: pods)
        podTemplate = try JSON(parsing: Self.podText)
    }

    public var namespaceCount: Int { (pods + Self.podsPerNamespace - 1) / Self.podsPerNamespace }
    public var nodeCount: Int { (pods + 99) / 100 }

    // MARK: - Places

    private static func padded(_ number: Int, _ width: Int = 5, radix: Int = 10) -> String {
        let digits = String(number, radix: radix)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    public func namespace(ofPod pod: Int) -> String { "load-" + Self.padded(pod / Self.podsPerNamespace) }

    /// Service by service, and the last one's are what is left.
    func pods(ofService service: Int) -> Range<Int> { pods * service / services..<pods * (service + 1) / services }

    func service(ofPod pod: Int) -> Int {
        var service = min(services - 1, pod * services / pods)
        while pods(ofService: service).upperBound <= pod { service += 1 }
        return service
    }

    /// A service is where its first pod is, and leads to those of its pods that are there, too.
    func namespace(ofService service: Int) -> String { namespace(ofPod: pods(ofService: service).lowerBound) }

    private func application(_ service: Int) -> String { "app-" + Self.padded(service) }

    func name(ofPod pod: Int) -> String {
        let replicaSet = application(service(ofPod: pod)) + "-5d4f8c7b9d-"
        return replicaSet + Self.padded(generations[pod] * pods + pod, 6, radix: 36)
    }

    func uid(ofPod pod: Int) -> String {
        "2f1c7a52-9b0e-4c1d-8e55-" + Self.padded(pod << 20 | generations[pod], 12, radix: 16)
    }

    /// Of its node's range, in which a replacement has another one than the pod that it replaces.
    func address(ofPod pod: Int) -> String {
        let (node, place) = (pod % nodeCount, pod / nodeCount)
        return "10.\(128 + node >> 8).\(node & 255).\(1 + place + generations[pod] % 2 * 120)"
    }

    func node(ofPod pod: Int) -> String { "node-" + Self.padded(pod % nodeCount) }

    mutating func replace(_ pod: Int) { generations[pod] += 1 }

    // MARK: - Objects

    private func metadata(_ name: String, _ namespace: String, uid: String = Registry.uid()) -> JSON {
        [
            "name": .string(name), "namespace": .string(namespace), "uid": .string(uid),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        ]
    }

    /// As it is once its node runs it: some four thousand bytes, half of which say who wrote what.
    func pod(_ pod: Int) -> JSON {
        let application = application(service(ofPod: pod))
        var object = podTemplate
        object["metadata"]["name"] = .string(name(ofPod: pod))
        object["metadata"]["namespace"] = .string(namespace(ofPod: pod))
        object["metadata"]["uid"] = .string(uid(ofPod: pod))
        object["metadata"]["generateName"] = .string(application + "-5d4f8c7b9d-")
        object["metadata"]["labels"]["app.kubernetes.io/name"] = .string(application)
        object["metadata"]["ownerReferences"] = [
            [
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": .string(application + "-5d4f8c7b9d"),
                "uid": "0a6c7a11-5a3f-4e57-9f2e-3f6f0f8f1c21", "controller": true, "blockOwnerDeletion": true,
            ]
        ]
        object["spec"]["nodeName"] = .string(node(ofPod: pod))
        object["status"]["podIP"] = .string(address(ofPod: pod))
        object["status"]["podIPs"] = [["ip": .string(address(ofPod: pod))]]
        return object
    }

    func service(_ service: Int) -> JSON {
        let address = "10.\(96 + service >> 16).\(service >> 8 & 255).\(service & 255)"
        return [
            "apiVersion": "v1", "kind": "Service",
            "metadata": metadata(application(service), namespace(ofService: service)),
            "spec": [
                "type": "ClusterIP", "clusterIP": .string(address), "clusterIPs": [.string(address)],
                "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "selector": ["app.kubernetes.io/name": .string(application(service))],
                "ports": [["name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080]],
            ], "status": ["loadBalancer": .object([:])],
        ]
    }

    /// The members of a service: the pods of its application in its namespace.
    func members(ofService service: Int) -> [Int] {
        pods(ofService: service).filter { namespace(ofPod: $0) == namespace(ofService: service) }
    }

    func sliceName(_ service: Int) -> String { application(service) + "-x7k2p" }

    func slice(_ service: Int) -> JSON {
        let namespace = namespace(ofService: service)
        var metadata = metadata(sliceName(service), namespace)
        metadata["labels"] = [
            "kubernetes.io/service-name": .string(application(service)),
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        ]
        return [
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
            "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
            "endpoints": .array(
                members(ofService: service).map { pod in
                    [
                        "addresses": [.string(address(ofPod: pod))],
                        "conditions": ["ready": true, "serving": true, "terminating": false],
                        "nodeName": .string(node(ofPod: pod)),
                        "targetRef": [
                            "kind": "Pod", "namespace": .string(namespace), "name": .string(name(ofPod: pod)),
                            "uid": .string(uid(ofPod: pod)),
                        ],
                    ]
                }),
        ]
    }

    func nodeObject(_ node: Int) -> JSON {
        let range: JSON = .string("10.\(128 + node >> 8).\(node & 255).0/24")
        return [
            "metadata": ["name": .string("node-" + Self.padded(node))],
            "spec": ["podCIDR": range, "podCIDRs": [range]],
        ]
    }
}

/// One change that `APIServer.change` has made.
public struct LoadChange: Sendable, Hashable {
    public enum Kind: String, Sendable {
        /// A pod is gone.
        case removed
        /// Its replacement runs.
        case added
        /// The EndpointSlice has the replacement in the place of what is gone.
        case serving
        /// A pod changed in what concerns nobody but its node.
        case unrelated
    }

    public let kind: Kind
    /// The pod's.
    public let uid: String
    /// When it was committed, by CLOCK_MONOTONIC, in nanoseconds.
    public let committed: UInt64

    public var text: String { "\(kind.rawValue) \(uid) \(committed)" }

    public init?(text: some StringProtocol) {
        let words = text.split(separator: " ")
        guard words.count == 3, let kind = Kind(rawValue: String(words[0])), let committed = UInt64(words[2]) else {
            return nil
        }
        self.init(kind, String(words[1]), committed)
    }

    init(_ kind: Kind, _ uid: String, _ committed: UInt64) {
        self.kind = kind
        self.uid = uid
        self.committed = committed
    }
}
