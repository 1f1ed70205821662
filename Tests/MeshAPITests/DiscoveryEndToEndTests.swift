import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Logging
import MeshState
import SwiftProtobuf
import Synchronization
import Testing

@testable import MeshAPI

/// The mesh that a client has been told of, and how often.
private final class Received: Sendable {
    private let state = Mutex((mesh: MeshSnapshot(), updates: [MeshUpdate]()))

    var mesh: MeshSnapshot { state.withLock { $0.mesh } }
    var updates: [MeshUpdate] { state.withLock { $0.updates } }

    func apply(_ update: MeshUpdate) {
        state.withLock { state in
            state.mesh = state.mesh.applying(update)
            state.updates.append(update)
        }
    }
}

@Suite("Discovery over a Unix socket", .timeLimit(.minutes(1)))
struct DiscoveryEndToEndTests {
    private let path = "/tmp/cvt-meshapi-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func client(_ received: Received) -> WorkloadDiscoveryClient {
        WorkloadDiscoveryClient(socketPath: path, node: "node-a", trustDomain: demo, logger: logger) {
            received.apply($0)
        }
    }

    /// Serves while `body` runs.
    private func serving(
        _ server: WorkloadDiscoveryServer, _ body: () async throws -> Void
    ) async throws {
        defer { unlink(path) }
        let task = Task { [path] in try await server.serve(unixSocket: path) }
        #expect(await eventually { access(path, F_OK) == 0 })
        try await body()
        task.cancel()
        _ = await task.result
    }

    @Test("what is published arrives; changes and removals follow; the socket is its owner's only")
    func follows() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        let received = Received()
        let client = client(received)
        server.publish([DiscoveryResource(try web()), DiscoveryResource(try webService())])
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually { client.status.isSynchronised })
            #expect(received.mesh.workload(uid: "u1") == (try web()))
            #expect(received.mesh.service(try webService().name) == (try webService()))
            #expect(
                await eventually {
                    var status = stat()
                    return stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600
                })

            let two = try web("u2", isStrict: true)
            server.publish([DiscoveryResource(try web(address: "10.244.1.3")), DiscoveryResource(two)])
            #expect(await eventually { received.mesh.workload(uid: "u2") == two })
            #expect(received.mesh.workload(uid: "u1") == (try web(address: "10.244.1.3")))
            #expect(received.mesh.serviceCount == 0)

            server.publish([])
            #expect(await eventually { received.mesh.workloadCount == 0 })
            #expect(await eventually { server.statistics.acknowledged == server.statistics.responses })
            #expect(server.statistics.refused == 0)
        }
        following.cancel()
        await following.value
    }

    @Test("after a restart of the server only the difference is sent")
    func restart() async throws {
        let received = Received()
        let client = client(received)
        let following = Task { await client.run() }
        let first = WorkloadDiscoveryServer(logger: logger)
        first.publish([DiscoveryResource(try web()), DiscoveryResource(try web("u2"))])
        try await serving(first) {
            #expect(await eventually { client.status.isSynchronised })
        }
        #expect(await eventually { !client.status.isConnected })
        #expect(received.mesh.workloadCount == 2)
        #expect(client.status.isSynchronised)

        let second = WorkloadDiscoveryServer(logger: logger)
        second.publish([DiscoveryResource(try web()), DiscoveryResource(try web("u3"))])
        try await serving(second) {
            #expect(await eventually { received.mesh.workload(uid: "u3") != nil })
        }
        #expect(received.updates.last == MeshUpdate(upsertedWorkloads: [try web("u3")], removed: ["u2"]))
        following.cancel()
        await following.value
    }

    @Test("a resource that the client cannot use is refused, counted on both sides, and the rest is applied")
    func refusal() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        let received = Received()
        let client = client(received)
        var unusable = Istio_Workload_Workload(try web("u2"))
        unusable.waypoint.hboneMtlsPort = 15008
        let address = Istio_Workload_Address.with { $0.workload = unusable }
        server.publish([
            DiscoveryResource(try web()),
            DiscoveryResource(name: "u2", version: "1", body: try address.serializedBytes()),
        ])
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually { server.statistics.refused == 1 })
            #expect(client.status.refused == 1)
            #expect(received.mesh.workloadCount == 1)
            // Refused once, not in a loop.
            server.publish([
                DiscoveryResource(try web()), DiscoveryResource(try web("u3")),
                DiscoveryResource(name: "u2", version: "1", body: try address.serializedBytes()),
            ])
            #expect(await eventually { received.mesh.workload(uid: "u3") != nil })
            #expect(server.statistics.refused == 1)
        }
        following.cancel()
        await following.value
    }

    @Test("ten thousand workloads arrive in one update")
    func large() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        let received = Received()
        let client = client(received)
        server.publish(
            try (0..<10_000).map { DiscoveryResource(try web("u\($0)", address: "10.1.\($0 / 250).\($0 % 250 + 1)")) })
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually(within: .seconds(30)) { client.status.isSynchronised })
            #expect(received.mesh.workloadCount == 10_000)
            #expect(received.updates.count == 1)
        }
        following.cancel()
        await following.value
    }

    @Test("streams beyond the limit are refused, and closed ones make room")
    func streamLimit() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        try await serving(server) {
            let clients = (0...WorkloadDiscoveryServer.streamsMax).map { _ in client(Received()) }
            let tasks = clients.map { client in Task { await client.run() } }
            #expect(
                await eventually {
                    clients.filter(\.status.isConnected).count == WorkloadDiscoveryServer.streamsMax
                })
            let refused = try #require(clients.firstIndex { !$0.status.isConnected })
            #expect(await eventually { clients[refused].status.lastError?.contains("open already") == true })
            tasks[refused == 0 ? 1 : 0].cancel()
            #expect(await eventually(within: .seconds(20)) { clients[refused].status.isSynchronised })
            for task in tasks { task.cancel() }
            for task in tasks { await task.value }
        }
    }
}
