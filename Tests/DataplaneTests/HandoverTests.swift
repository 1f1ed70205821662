import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE
import Synchronization
import Testing

@testable import Dataplane

@Suite(
    "A second proxy takes over", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(2))
)
struct HandoverTests {
    /// Connects again and again, says a word and wants to hear it; counts.
    private final class Visitor: Sendable {
        struct Count {
            var served = 0
            var failures: [String] = []
        }

        private let count = Mutex(Count())
        private let isLeaving = Atomic(false)
        private let done: AsyncStream<Void>

        init(from host: TestNetwork.Host, to address: SocketAddress) throws {
            let (done, leaves) = AsyncStream<Void>.makeStream()
            self.done = done
            _ = try SystemThread(name: "test-visitor") { [self] in
                while !isLeaving.load(ordering: .relaxed) { visit(host, address) }
                leaves.finish()
            }
        }

        private func visit(_ host: TestNetwork.Host, _ address: SocketAddress) {
            do {
                let socket = BlockingSocket(try host.namespace.run { try TestConnection.connect(to: address) })
                socket.send([1, 2, 3])
                let answer = try socket.received(3)
                count.withLock { count in
                    if answer == [1, 2, 3] { count.served += 1 } else { count.failures.append("\(answer)") }
                }
            } catch {
                count.withLock { $0.failures.append("\(error)") }
            }
        }

        var served: Int { count.withLock { $0.served } }

        /// Until so many more were served, or some time has passed in vain.
        func serve(_ more: Int) async throws {
            let goal = served + more
            for _ in 0..<1000 where served < goal { try await Task.sleep(for: .milliseconds(10)) }
            #expect(served >= goal)
        }

        func leave() async -> Count {
            isLeaving.store(true, ordering: .relaxed)
            for await _ in done {}
            return count.withLock { $0 }
        }
    }

    private func successor(of pod: TestPod, in mesh: TestMesh, loops: Int) async throws -> Dataplane {
        var configuration = DataplaneConfiguration(trustDomain: mesh.trust.trustDomain, node: "node-\(pod.name)")
        configuration.loops = loops
        let dataplane = try Dataplane(configuration: configuration) { pod.records.append($0) }
        dataplane.publish(try mesh.snapshot(expectingServerAs: "server"))
        try dataplane.publish(mesh.trust.bundles)
        try dataplane.publish(pod.svid(mesh.trust))
        return dataplane
    }

    @Test(
        "with not one connection refused, whichever side it is and however many loops it has",
        arguments: [("server", 1, 1), ("client", 1, 1), ("server", 1, 2), ("server", 2, 1), ("client", 3, 2)])
    func underLoad(side: String, before: Int, after: Int) async throws {
        let mesh = try await TestMesh { $0.loops = before }
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let pod = side == "server" ? mesh.server : mesh.client
        let visitor = try Visitor(from: mesh.client.host, to: target)
        let open = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await open.send([7])
        #expect(try await open.receive(1) == [7])
        try await visitor.serve(20)

        let successor = try await successor(of: pod, in: mesh, loops: after)
        let listeners = try await pod.dataplane.share(podUID: pod.name)
        #expect(listeners.count == 4 * before)
        try await successor.attach(try pod.pod, inheriting: listeners)
        try await visitor.serve(20)
        try await pod.dataplane.standBy()
        try await visitor.serve(50)
        // All of them by the successor, and what the predecessor has goes on.
        try await pod.settle(connections: 2)
        try await open.send([8])
        #expect(try await open.receive(1) == [8])
        try await pod.dataplane.drain(deadline: .milliseconds(100))
        try await visitor.serve(50)

        let count = await visitor.leave()
        #expect(count.failures == [])
        withExtendedLifetime(server) {}
        try await successor.drain(deadline: .milliseconds(100))
        try await mesh.end()
    }

    @Test("and dies: the first one serves again, what waited meanwhile, too")
    func takenBack() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        do {
            let listeners = try await mesh.server.dataplane.share(podUID: "server")
            #expect(listeners.count == 4)
        }
        try await mesh.server.dataplane.standBy()
        // Nobody accepts at the server's: the kernel takes the connection, and keeps it.
        let waiting = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await waiting.send([1])
        try await Task.sleep(for: .milliseconds(100))
        try await mesh.server.dataplane.takeBack()
        #expect(try await waiting.receive(1) == [1])
        let visitor = try Visitor(from: mesh.client.host, to: target)
        try await visitor.serve(20)
        #expect(await visitor.leave().failures == [])
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("that a pod came to only after it stood by is served when the successor is gone")
    func attachedMeanwhile() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        try await mesh.server.dataplane.detach(podUID: "server", deadline: .zero)
        try await mesh.server.dataplane.standBy()
        try await mesh.server.dataplane.attach(try mesh.server.pod)
        #expect(try await mesh.server.dataplane.share(podUID: "server").isEmpty)
        try await mesh.server.dataplane.takeBack()
        let visitor = try Visitor(from: mesh.client.host, to: target)
        try await visitor.serve(5)
        #expect(await visitor.leave().failures == [])
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("takes no socket that is not the pod's, not listening, or on another port")
    func strangers() async throws {
        let network = try TestNetwork(hosts: 2)
        let (own, other) = (network.hosts[0].namespace, network.hosts[1].namespace)
        let plan = SocketAddress(.unspecified(.v6), port: 15008)
        func listener(in namespace: NetworkNamespace, at address: SocketAddress) throws -> SharedListener {
            SharedListener(
                address: plan, adopting: try namespace.run { try TCPSocket.listen(on: address, dualStack: true) })
        }
        #expect(try listener(in: own, at: plan).listens(in: own))
        #expect(try !listener(in: other, at: plan).listens(in: own))
        #expect(try !listener(in: own, at: SocketAddress(.unspecified(.v6), port: 15009)).listens(in: own))
        #expect(try !listener(in: own, at: SocketAddress(.loopback(.v6), port: 15008)).listens(in: own))
        // Where the pod had no IPv6, the same port of IPv4 is what was planned.
        let v4 = try own.run {
            try TCPSocket.listen(on: SocketAddress(.unspecified(.v4), port: 15008), dualStack: false)
        }
        #expect(SharedListener(address: plan, adopting: v4).listens(in: own))
        let file = OwnedDescriptor(adopting: open("/dev/null", O_RDONLY))
        #expect(!SharedListener(address: plan, adopting: file).listens(in: own))
    }
}
