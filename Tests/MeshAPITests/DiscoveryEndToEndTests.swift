import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import IPAddressing
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
        server.publish(changed: [DiscoveryResource(try web()), DiscoveryResource(try webService())])
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
            server.publish(
                changed: [DiscoveryResource(try web(address: "10.244.1.3")), DiscoveryResource(two)],
                removed: [try webService().name.description])
            #expect(await eventually { received.mesh.workload(uid: "u2") == two })
            #expect(received.mesh.workload(uid: "u1") == (try web(address: "10.244.1.3")))
            #expect(received.mesh.serviceCount == 0)

            let ranges: Set<IPPrefix> = [try #require(IPPrefix("10.244.0.0/16"))]
            server.publish(changed: [DiscoveryResource(ranges: ranges)])
            #expect(await eventually { received.mesh.ranges == AddressRanges(ranges) })

            server.publish(changed: [], removed: ["u1", "u2"])
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
        first.publish(changed: [DiscoveryResource(try web()), DiscoveryResource(try web("u2"))])
        try await serving(first) {
            #expect(await eventually { client.status.isSynchronised })
        }
        #expect(await eventually { !client.status.isConnected })
        #expect(received.mesh.workloadCount == 2)
        #expect(client.status.isSynchronised)

        let second = WorkloadDiscoveryServer(logger: logger)
        second.publish(changed: [DiscoveryResource(try web()), DiscoveryResource(try web("u3"))])
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
        server.publish(changed: [
            DiscoveryResource(try web()),
            DiscoveryResource(name: "u2", version: "1", body: try address.serializedBytes()),
        ])
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually { server.statistics.refused == 1 })
            #expect(client.status.refused == 1)
            #expect(received.mesh.workloadCount == 1)
            // Refused once, not in a loop.
            server.publish(changed: [DiscoveryResource(try web("u3"))])
            #expect(await eventually { received.mesh.workload(uid: "u3") != nil })
            #expect(server.statistics.refused == 1)
        }
        following.cancel()
        await following.value
    }

    @Test("ten thousand workloads arrive in one update, of more than the transport's default of 4 MiB")
    func large() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        let received = Received()
        let client = client(received)
        let resources = try (0..<10_000).map { number in
            var workload = try web("u\(number)", address: "10.1.\(number / 250).\(number % 250 + 1)")
            workload.workloadName = String(repeating: "w", count: 253)
            return DiscoveryResource(workload)
        }
        #expect(resources.reduce(0) { $0 + $1.encoded.count } > 4 << 20)
        server.publish(changed: resources)
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually(within: .seconds(30)) { client.status.isSynchronised })
            #expect(received.mesh.workloadCount == 10_000)
            #expect(received.updates.count == 1)
        }
        following.cancel()
        await following.value
    }

    @Test(
        "an address that the client does not know is asked for, and what the agent knows of it has come by the answer")
    func questions() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        let received = Received()
        let client = client(received)
        server.publish(changed: [DiscoveryResource(try web())])
        let known = try #require(IPAddress("10.244.1.2"))
        let unknown = try #require(IPAddress("10.244.9.9"))
        let following = Task { await client.run() }
        try await serving(server) {
            #expect(await eventually { client.status.isSynchronised })
            let told = Mutex<[Workload?]>([])
            for address in [known, unknown, unknown] {
                client.lookUp(address) { answer in
                    #expect(answer == .told)
                    told.withLock { $0.append(received.mesh.workload(at: address)) }
                }
            }
            #expect(await eventually { told.withLock(\.count) == 3 })
            let expected = [try web()]
            #expect(told.withLock { $0.compactMap(\.self) } == expected)
        }
        // Without an agent it is said soon that nobody can be asked.
        #expect(await eventually { !client.status.isConnected })
        let answer = Mutex<WorkloadDiscoveryClient.Answer?>(nil)
        client.lookUp(unknown) { outcome in answer.withLock { $0 = outcome } }
        #expect(await eventually { answer.withLock { $0 != nil } })
        guard case .unavailable = answer.withLock({ $0 }) else {
            Issue.record("answered by nobody")
            return
        }
        following.cancel()
        await following.value
    }

    @Test("a question that an agent takes along is answered by the next one")
    func questionsAcrossRestarts() async throws {
        let received = Received()
        let client = client(received)
        let answer = Mutex<WorkloadDiscoveryClient.Answer?>(nil)
        let following = Task { await client.run() }
        client.lookUp(try #require(IPAddress("10.244.9.9"))) { outcome in answer.withLock { $0 = outcome } }
        let server = WorkloadDiscoveryServer(logger: logger)
        try await serving(server) {
            #expect(await eventually { answer.withLock { $0 } != nil })
        }
        // Whoever is slower than the client's patience has been told so.
        #expect(answer.withLock { $0 } != nil)
        following.cancel()
        await following.value
    }

    @Test("streams beyond the limit are refused, and closed ones make room")
    func streamLimit() async throws {
        let server = WorkloadDiscoveryServer(logger: logger)
        try await serving(server) {
            let clients = (0...DiscoveryState.streamsMax).map { _ in client(Received()) }
            let tasks = clients.map { client in Task { await client.run() } }
            #expect(
                await eventually {
                    clients.filter(\.status.isConnected).count == DiscoveryState.streamsMax
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
