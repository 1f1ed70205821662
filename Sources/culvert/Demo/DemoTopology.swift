import IPAddressing

/// Who is where in the demo: names and addresses, without any I/O.
///
/// Every host and pod is a network namespace whose name begins with `prefix`; the underlay is one more that holds only a
/// bridge.
struct DemoTopology: Sendable {
    struct Node: Hashable, Sendable {
        let name: String
        let address: DualAddress
        let podGateway: DualAddress
        let podPrefixes: [IPPrefix]
        let networkNamespace: String
    }

    struct Service: Hashable, Sendable {
        struct Port: Hashable, Sendable {
            let port: UInt16
            let target: UInt16
        }

        let addresses: DualAddress
        let ports: [Port]
    }

    struct Pod: Hashable, Sendable {
        let name: String
        let namespace: String
        let node: String
        let address: DualAddress
        let isEnrolled: Bool
        let programs: [Program]
        let networkNamespace: String
        /// Named as the pod, in its namespace.
        var service: Service?

        /// Its service account is named as the pod.
        var spiffeID: String { "spiffe://\(DemoTopology.trustDomain)/ns/\(namespace)/sa/\(name)" }
        var uid: String { "demo-\(namespace)-\(name)" }

        /// Addresses by which others may reach it.
        func answers(to address: IPAddress) -> Bool {
            self.address.contains(address) || service?.addresses.contains(address) == true
        }
    }

    /// A server that a pod runs.
    enum Program: String, Hashable, Sendable, CaseIterable {
        case http
        case echo
        case sink

        var port: UInt16 {
            switch self {
            case .http: 8080
            case .echo: 7007
            case .sink: 9000
            }
        }
    }

    /// Traffic that the demo sends from one pod to another.
    struct Pair: Hashable, Sendable {
        let from: Pod
        let to: Pod

        /// Both ends are enrolled, so nothing may pass outside the tunnel.
        var isProtected: Bool { from.isEnrolled && to.isEnrolled }
        var name: String { "\(from.name) → \(to.name)" }
    }

    static let prefix = "culvert-demo-"
    static let trustDomain = "culvert.demo"
    static let underlayPrefixLengths = (v4: 24, v6: 64)
    static let podPrefixLengths = (v4: 24, v6: 64)

    let underlayNamespace: String
    let authorityNamespace: String
    let authority = DualAddress("10.0.0.10", "fd00:10::10")
    let nodes: [Node]
    let client: Pod
    let web: Pod
    let store: Pod
    let outsider: Pod

    var pods: [Pod] { [client, web, store, outsider] }

    /// Across nodes, within a node, and across the border of the mesh both ways.
    var pairs: [Pair] {
        [
            Pair(from: client, to: web), Pair(from: client, to: store), Pair(from: web, to: store),
            Pair(from: client, to: outsider), Pair(from: outsider, to: web),
        ]
    }

    var networkNamespaces: [String] {
        [underlayNamespace, authorityNamespace] + nodes.map(\.networkNamespace)
            + pods.map(\.networkNamespace)
    }

    func node(of pod: Pod) -> Node { nodes.first { $0.name == pod.node }! }

    init(prefix: String = prefix) {
        underlayNamespace = prefix + "underlay"
        authorityNamespace = prefix + "ca"
        nodes = [
            Node(
                name: "node-a", address: DualAddress("10.0.0.11", "fd00:10::11"),
                podGateway: DualAddress("10.244.1.1", "fd00:10:244:1::1"),
                podPrefixes: [IPPrefix("10.244.1.0/24")!, IPPrefix("fd00:10:244:1::/64")!],
                networkNamespace: prefix + "node-a"),
            Node(
                name: "node-b", address: DualAddress("10.0.0.12", "fd00:10::12"),
                podGateway: DualAddress("10.244.2.1", "fd00:10:244:2::1"),
                podPrefixes: [IPPrefix("10.244.2.0/24")!, IPPrefix("fd00:10:244:2::/64")!],
                networkNamespace: prefix + "node-b"),
        ]
        client = Pod(
            name: "client", namespace: "shop", node: "node-a", address: DualAddress("10.244.1.2", "fd00:10:244:1::2"),
            isEnrolled: true, programs: [], networkNamespace: prefix + "pod-client")
        outsider = Pod(
            name: "outsider", namespace: "legacy", node: "node-a",
            address: DualAddress("10.244.1.3", "fd00:10:244:1::3"), isEnrolled: false, programs: [.http],
            networkNamespace: prefix + "pod-outsider")
        web = Pod(
            name: "web", namespace: "shop", node: "node-b", address: DualAddress("10.244.2.2", "fd00:10:244:2::2"),
            isEnrolled: true, programs: [.http], networkNamespace: prefix + "pod-web",
            service: Service(
                addresses: DualAddress("10.96.0.10", "fd00:10:96::10"),
                ports: [Service.Port(port: 80, target: Program.http.port)]))
        store = Pod(
            name: "store", namespace: "shop", node: "node-b", address: DualAddress("10.244.2.3", "fd00:10:244:2::3"),
            isEnrolled: true, programs: [.echo, .sink], networkNamespace: prefix + "pod-store",
            service: Service(
                addresses: DualAddress("10.96.0.20", "fd00:10:96::20"),
                ports: [
                    Service.Port(port: 7, target: Program.echo.port),
                    Service.Port(port: 9000, target: Program.sink.port),
                ]))
    }
}
