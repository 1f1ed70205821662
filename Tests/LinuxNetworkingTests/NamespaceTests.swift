import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

private let isRoot = geteuid() == 0

@Suite("Network namespaces", .enabled(if: isRoot, "needs root: makes network namespaces"))
struct NamespaceTests {
    @Test("the thread comes back, also from an error and from a namespace in a namespace")
    func comesBack() throws {
        let home = try NetworkNamespace.current().inode
        let (outer, inner) = (try NetworkNamespace.make(), try NetworkNamespace.make())
        var visited = [try NetworkNamespace.current().inode]
        #expect(throws: Errno(code: 1, call: "test")) {
            try outer.run {
                visited.append(try NetworkNamespace.current().inode)
                defer { visited.append((try? NetworkNamespace.current().inode) ?? 0) }
                try inner.run {
                    visited.append(try NetworkNamespace.current().inode)
                    throw Errno(code: 1, call: "test")
                }
            }
        }
        visited.append(try NetworkNamespace.current().inode)
        #expect(visited == [home, outer.inode, inner.inode, outer.inode, home])
        #expect(!outer.isSame(as: inner))
    }

    @Test("a descriptor of something else is refused")
    func wrongDescriptor() {
        for path in ["/proc/self/ns/mnt", "/dev/null"] {
            #expect(throws: Errno.self) { _ = try NetworkNamespace(path: path) }
        }
        #expect { _ = try NetworkNamespace(path: "/nonexistent") } throws: { ($0 as? Errno)?.code == ENOENT }
    }

    @Test("hosts joined by a bridge reach each other", arguments: [IPAddress.Family.v4, .v6])
    func joined(_ family: IPAddress.Family) throws {
        let network = try TestNetwork(hosts: 2)
        let (client, server) = (network.hosts[0], network.hosts[1])
        let address = SocketAddress(server.address(family), port: 8080)
        let listener = try server.namespace.run { try TCPSocket.listen(on: address, dualStack: false) }
        let connection = try client.namespace.run { try TestConnection.connect(to: address) }
        let accepted = try TestConnection.accept(listener)
        #expect(TCPSocket.peerAddress(accepted.raw)?.ip == client.address(family))
        try TestConnection.send("hello", over: connection)
        #expect(try TestConnection.receive(from: accepted) == "hello")
    }

    @Test("rules, routes and addresses are read back as they were set, and a second time changes nothing")
    func routing() throws {
        let host = try TestNetwork(hosts: 1).hosts[0]
        try host.namespace.run {
            let routes = try RouteSocket()
            let link = try routes.linkIndex("eth0")
            let addresses = try routes.addresses()
            for (address, length) in [(host.v4, 24), (host.v6, 64)] {
                let found = addresses.first { $0.address == address }
                #expect(found?.prefixLength == length)
                #expect(found?.link == link)
            }
            for family in [IPAddress.Family.v4, .v6] {
                let rule = RoutingRule(family: family, mark: 0x53a, table: 133, priority: 100)
                #expect(try routes.addRule(rule))
                #expect(try !routes.addRule(rule))
                #expect(try routes.rules(family) == [rule])
                for _ in 0..<2 { try routes.addLocalRoute(family, table: 133) }
                let installed = try routes.routes(family, table: 133)
                #expect(installed.map(\.kind) == [.local])
                #expect(installed.map(\.link) == [1])
                #expect(installed.map(\.destination.length) == [0])
                #expect(try routes.deleteLocalRoute(family, table: 133))
                #expect(try !routes.deleteLocalRoute(family, table: 133))
                #expect(try routes.deleteRule(rule))
                #expect(try !routes.deleteRule(rule))
                #expect(try routes.rules(family).isEmpty)
            }
        }
    }

    @Test("sysctls are of the namespace")
    func sysctl() throws {
        let namespace = try NetworkNamespace.make()
        let name = "net/ipv4/tcp_fwmark_accept"
        let before = try Sysctl.read(name)
        try namespace.run {
            try Sysctl.write(name, "1")
            #expect(try Sysctl.read(name) == "1")
        }
        #expect(try Sysctl.read(name) == before)
        #expect { _ = try Sysctl.read("net/no_such_thing") } throws: { ($0 as? Errno)?.code == ENOENT }
    }

    @Test("connections are destroyed by mark and address, others live on", arguments: [IPAddress.Family.v4, .v6])
    func destroy(_ family: IPAddress.Family) throws {
        let network = try TestNetwork(hosts: 2)
        let (client, server) = (network.hosts[0], network.hosts[1])
        let address = SocketAddress(server.address(family), port: 8080)
        let listener = try server.namespace.run { try TCPSocket.listen(on: address, dualStack: false) }
        let (plain, marked) = try client.namespace.run {
            (
                Shared(try TestConnection.connect(to: address)),
                Shared(try TestConnection.connect(to: address, options: .init(mark: 0x539)))
            )
        }
        let (plainPeer, markedPeer) = (
            Shared(try TestConnection.accept(listener)), Shared(try TestConnection.accept(listener))
        )
        let destroyed = try client.namespace.run {
            #expect(try SocketDiagnostics.connectedTCP().count == 2)
            return try SocketDiagnostics.destroyTCP { $0.mark != 0x539 && !$0.remote.ip.isLoopback }
        }
        #expect(destroyed == 1)
        #expect { try TestConnection.send("x", over: plain.descriptor) } throws: {
            [ECONNABORTED, EPIPE].contains(($0 as? Errno)?.code)
        }
        #expect { _ = try TestConnection.receive(from: plainPeer.descriptor) } throws: {
            ($0 as? Errno)?.code == ECONNRESET
        }
        try TestConnection.send("y", over: marked.descriptor)
        #expect(try TestConnection.receive(from: markedPeer.descriptor) == "y")
    }
}

/// For places that take copyable values only.
private final class Shared: Sendable {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

@Suite("Packet tap", .enabled(if: isRoot, "needs root: makes network namespaces"))
struct PacketTapTests {
    @Test("counts both directions of a connection, exactly", arguments: [IPAddress.Family.v4, .v6])
    func counting(_ family: IPAddress.Family) throws {
        let network = try TestNetwork(hosts: 2)
        let (client, server) = (network.hosts[0], network.hosts[1])
        let tap = try client.namespace.run { try PacketTap(interface: "eth0") }
        let address = SocketAddress(server.address(family), port: 8080)
        let listener = try server.namespace.run { try TCPSocket.listen(on: address, dualStack: false) }
        let connection = try client.namespace.run { try TestConnection.connect(to: address) }
        let accepted = try TestConnection.accept(listener)
        try TestConnection.send(String(repeating: "x", count: 3_000), over: connection)
        _ = try TestConnection.receive(from: accepted)
        try TestConnection.send("\u{16}\u{3}answer", over: accepted)
        _ = try TestConnection.receive(from: connection)
        let local = try #require(TCPSocket.localAddress(connection.raw))
        let snapshot = tap.snapshot()
        let out = snapshot.flows[FlowKey(source: local, destination: address)]
        let back = snapshot.flows[FlowKey(source: address, destination: local)]
        #expect(out?.payloadBytes == 3_000)
        #expect(out?.beginsWithTLS == false)
        #expect(back?.payloadBytes == 8)
        #expect(back?.beginsWithTLS == true)
        #expect(snapshot.flows.count == 2)
        #expect(snapshot.dropped == 0)
        #expect(snapshot.failure == nil)
    }

    @Test("an interface that does not exist is an error")
    func missing() {
        #expect { _ = try PacketTap(interface: "none0") } throws: { ($0 as? Errno)?.code == ENODEV }
    }
}
