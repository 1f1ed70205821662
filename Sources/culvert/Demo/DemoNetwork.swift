import IPAddressing
import LinuxNetworking

/// The topology made of network namespaces, bridges and veth pairs; nothing appears in the host's own namespace.
///
/// Its namespaces are named, so they outlive this object: `RunDirectory.removeLeftovers` ends them.
struct DemoNetwork: Sendable {
    let topology: DemoTopology
    private let namespaces: [String: NetworkNamespace]

    init(_ topology: DemoTopology) throws {
        self.topology = topology
        namespaces = try topology.networkNamespaces.reduce(into: [:]) { made, name in
            made[name] = try NamedNetworkNamespace.make(name)
        }
        for namespace in namespaces.values {
            try namespace.run { try RouteSocket().setUp("lo") }
        }
        try buildUnderlay()
        for node in topology.nodes { try build(node) }
        for pod in topology.pods { try build(pod) }
    }

    /// Named by the topology this was made of.
    subscript(name: String) -> NetworkNamespace { namespaces[name]! }
    subscript(pod: DemoTopology.Pod) -> NetworkNamespace { self[pod.networkNamespace] }
    subscript(node: DemoTopology.Node) -> NetworkNamespace { self[node.networkNamespace] }

    private func buildUnderlay() throws {
        let hosts =
            [("ca", topology.authorityNamespace, topology.authority)]
            + topology.nodes.map { ($0.name, $0.networkNamespace, $0.address) }
        try self[topology.underlayNamespace].run {
            let links = try RouteSocket()
            try links.createBridge("underlay")
            try links.setUp("underlay")
            for (name, namespace, _) in hosts {
                try plug(name, into: "underlay", peerNamespace: self[namespace], links)
            }
        }
        for (_, namespace, address) in hosts {
            try self[namespace].run {
                let links = try RouteSocket()
                try assign(address, DemoTopology.underlayPrefixLengths, to: "eth0", links)
                try links.setUp("eth0")
            }
        }
    }

    private func build(_ node: DemoTopology.Node) throws {
        try self[node].run {
            let links = try RouteSocket()
            try Sysctl.write("net/ipv4/ip_forward", "1")
            try Sysctl.write("net/ipv6/conf/all/forwarding", "1")
            try links.createBridge("pods")
            try assign(node.podGateway, DemoTopology.podPrefixLengths, to: "pods", links)
            try links.setUp("pods")
            for other in topology.nodes where other != node {
                for prefix in other.podPrefixes {
                    let gateway = prefix.address.family == .v4 ? other.address.v4 : other.address.v6
                    try links.addRoute(to: prefix, via: gateway)
                }
            }
            for pod in topology.pods where pod.node == node.name {
                try plug("pod-\(pod.name)", into: "pods", peerNamespace: self[pod], links)
            }
        }
    }

    private func build(_ pod: DemoTopology.Pod) throws {
        let gateway = topology.node(of: pod).podGateway
        try self[pod].run {
            let links = try RouteSocket()
            try assign(pod.address, DemoTopology.podPrefixLengths, to: "eth0", links)
            try links.setUp("eth0")
            for address in gateway.both {
                try links.addRoute(to: IPPrefix(.unspecified(address.family), length: 0)!, via: address)
            }
        }
    }

    /// A veth pair: a port of the bridge here, `eth0` there.
    private func plug(
        _ name: String, into bridge: String, peerNamespace: NetworkNamespace, _ links: RouteSocket
    ) throws(Errno) {
        try links.createVeth(name, peerName: "eth0", peerNamespace: peerNamespace)
        try links.setMaster(name, bridge: bridge)
        try links.setUp(name)
    }

    private func assign(
        _ address: DualAddress, _ lengths: (v4: Int, v6: Int), to link: String, _ links: RouteSocket
    ) throws(Errno) {
        try links.addAddress(address.v4, prefixLength: lengths.v4, to: link)
        try links.addAddress(address.v6, prefixLength: lengths.v6, to: link)
    }
}
