import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import culvert

/// A cluster's network: a control plane and nodes on one underlay, and on each node pods behind a bridge, that come and go.
///
/// The namespaces have no names, and go with the last reference: a test that crashes leaves nothing behind.
final class ClusterNetwork {
    /// A machine: what is on it goes when it is lost.
    final class Node {
        let name: String
        let number: Int
        let namespace: NetworkNamespace
        fileprivate var hostsMade = 1

        fileprivate init(_ name: String, _ number: Int) throws {
            (self.name, self.number) = (name, number)
            namespace = try NetworkNamespace.make()
        }

        var address: DualAddress { ClusterNetwork.nodeAddress(number) }
        var gateway: DualAddress { DualAddress("10.244.\(number).1", "fd00:10:244:\(number)::1") }
    }

    /// What a network plug-in gives a pod.
    struct Place {
        let namespace: NetworkNamespace
        let address: DualAddress
        /// The node's end of its veth.
        let port: String
    }

    static let controlPlaneAddress = DualAddress("10.0.0.10", "fd00:10::10")
    static let nodeNames = ["node-a", "node-b"]

    let controlPlane: NetworkNamespace
    private let underlay: NetworkNamespace
    private(set) var nodes: [Node] = []

    init() throws {
        underlay = try NetworkNamespace.make()
        controlPlane = try NetworkNamespace.make()
        try underlay.run {
            let links = try RouteSocket()
            try links.createBridge("underlay")
            try links.setUp("underlay")
        }
        try join("control", controlPlane, Self.controlPlaneAddress)
        for index in Self.nodeNames.indices {
            nodes.append(try makeNode(index))
            try route(from: controlPlane, to: index)
        }
    }

    /// The machine has lost its power: nothing of it is on the network any more. Whatever ran there is for the caller to end.
    func lose(_ node: Node) throws {
        try underlay.run { _ = try RouteSocket().deleteLink(node.name) }
        nodes.removeAll { $0 === node }
    }

    /// The same machine, started again; its pods get other addresses than before.
    func start(after lost: Node) throws -> Node {
        let node = try makeNode(lost.number - 1)
        node.hostsMade = lost.hostsMade
        nodes.append(node)
        return node
    }

    func addPod(_ name: String, on node: Node) throws -> Place {
        node.hostsMade += 1
        // No link-local addresses that come by themselves while a test looks: of what is made from now on.
        try node.namespace.run { try Sysctl.write("net/ipv6/conf/default/addr_gen_mode", "1") }
        let place = Place(
            namespace: try NetworkNamespace.make(),
            address: DualAddress(
                "10.244.\(node.number).\(node.hostsMade)", "fd00:10:244:\(node.number)::\(node.hostsMade)"),
            port: "pod-\(name.suffix(8))")
        try node.namespace.run { try plug(place.port, into: "pods", place.namespace, RouteSocket()) }
        try place.namespace.run {
            let links = try RouteSocket()
            // No link-local addresses that come by themselves while a test looks.
            try Sysctl.write("net/ipv6/conf/default/addr_gen_mode", "1")
            try Sysctl.write("net/ipv6/conf/eth0/addr_gen_mode", "1")
            try links.setUp("lo")
            try assign(place.address, links)
            for gateway in node.gateway.both {
                try links.addRoute(to: try prefix("\(IPAddress.unspecified(gateway.family))/0"), via: gateway)
            }
        }
        return place
    }

    // MARK: - Parts

    private static func nodeAddress(_ number: Int) -> DualAddress {
        DualAddress("10.0.0.\(10 + number)", "fd00:10::\(10 + number)")
    }

    private func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    private func makeNode(_ index: Int) throws -> Node {
        let node = try Node(Self.nodeNames[index], index + 1)
        try join(node.name, node.namespace, node.address)
        try node.namespace.run {
            let links = try RouteSocket()
            // As a machine has it, also when it is started again.
            try Self.name("eth0", number: index)
            try Sysctl.write("net/ipv4/ip_forward", "1")
            try Sysctl.write("net/ipv6/conf/all/forwarding", "1")
            try links.createBridge("pods")
            // A bridge without an address of its own takes its ports', and another one when they change.
            try Self.name("pods", number: 0x100 + index)
            try links.addAddress(node.gateway.v4, prefixLength: 24, to: "pods")
            try links.addAddress(node.gateway.v6, prefixLength: 64, to: "pods")
            try links.setUp("pods")
        }
        for other in Self.nodeNames.indices where other != index { try route(from: node.namespace, to: other) }
        return node
    }

    private func join(_ name: String, _ namespace: NetworkNamespace, _ address: DualAddress) throws {
        try underlay.run { try plug(name, into: "underlay", namespace, RouteSocket()) }
        try namespace.run {
            let links = try RouteSocket()
            try links.setUp("lo")
            try assign(address, links)
        }
    }

    private func assign(_ address: DualAddress, _ links: RouteSocket) throws {
        try links.addAddress(address.v4, prefixLength: 24, to: "eth0")
        try links.addAddress(address.v6, prefixLength: 64, to: "eth0")
        try links.setUp("eth0")
    }

    /// Gives an interface a hardware address.
    private static func name(_ interface: String, number: Int) throws {
        let address = "02:00:00:00:0\(number >> 8):0\(number & 0xff)"
        try #require(TestNetwork.shell("ip link set dev \(interface) address \(address) 2>&1") == "")
    }

    /// To the pods of a node.
    private func route(from namespace: NetworkNamespace, to index: Int) throws {
        try namespace.run {
            let links = try RouteSocket()
            let address = Self.nodeAddress(index + 1)
            try links.addRoute(to: try prefix("10.244.\(index + 1).0/24"), via: address.v4)
            try links.addRoute(to: try prefix("fd00:10:244:\(index + 1)::/64"), via: address.v6)
        }
    }

    private func plug(_ name: String, into bridge: String, _ namespace: NetworkNamespace, _ links: RouteSocket) throws {
        try links.createVeth(name, peerName: "eth0", peerNamespace: namespace)
        try links.setMaster(name, bridge: bridge)
        try links.setUp(name)
    }
}
