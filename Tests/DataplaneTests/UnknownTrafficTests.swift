import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Synchronization
import Testing

@testable import Dataplane

@Suite(
    "A connection to an address of the mesh's ranges that the mesh does not know",
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2))
)
struct UnknownTrafficTests {
    /// What proxies ask, until it is answered.
    private final class Questions: Sendable {
        private let open = Mutex<[(address: IPAddress, answer: @Sendable (String?) -> Void)]>([])
        private let count = Mutex(0)

        var asked: Int { count.withLock { $0 } }

        func ask(_ address: IPAddress, _ answer: @escaping @Sendable (String?) -> Void) {
            count.withLock { $0 += 1 }
            open.withLock { $0.append((address, answer)) }
        }

        /// The address of the next question, once there is one.
        func next() async throws -> (address: IPAddress, answer: @Sendable (String?) -> Void) {
            for _ in 0..<1000 {
                if let question = open.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { return question }
                try await Task.sleep(for: .milliseconds(10))
            }
            throw Errno(code: ETIMEDOUT, call: "wait for a question")
        }
    }

    /// The client's proxy knows nobody but its own pod, and that both hosts' addresses are the mesh's.
    private func mesh(_ questions: Questions, timeout: Duration = .seconds(60)) async throws -> TestMesh {
        let mesh = try await TestMesh { configuration in
            configuration.lookUp = { questions.ask($0, $1) }
            configuration.lookUpTimeout = timeout
        }
        let ranges = Set(
            [mesh.server.host.v4, mesh.server.host.v6, mesh.outsider.v4, mesh.outsider.v6].compactMap {
                IPPrefix($0, length: $0.bitWidth)
            })
        mesh.client.dataplane.publish(
            MeshSnapshot().applying(
                MeshUpdate(upsertedWorkloads: [try mesh.client.workload(serviceAccount: "client")], ranges: ranges)))
        return mesh
    }

    @Test("is held until the agent was asked, and then goes through the tunnel that the mesh leads to")
    func enrolled() async throws {
        let questions = Questions()
        let mesh = try await mesh(questions)
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 7000)
        let target = SocketAddress(mesh.server.host.v4, port: 7000)
        let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await socket.send([9])
        let (address, answer) = try await questions.next()
        #expect(address == target.ip)
        try mesh.publish(expectingServerAs: "server")
        answer(nil)
        #expect(try await socket.receive(1) == [9])
        socket.finish()
        #expect(try await socket.receive(1) == [])
        let record = try #require(try await mesh.client.records.first { $0.direction == .outbound })
        #expect(record.security == .mutualTLS)
        #expect(questions.asked == 1)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("passes in plaintext with a record when the agent does not know it either, and is not asked for again soon")
    func outside() async throws {
        let questions = Questions()
        let mesh = try await mesh(questions)
        let server = try TestProgram.echoServer(on: mesh.outsider, port: 7000)
        let target = SocketAddress(mesh.outsider.v6, port: 7000)
        for attempt in 0..<2 {
            let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
            try await socket.send([9])
            if attempt == 0 { try await questions.next().answer(nil) }
            #expect(try await socket.receive(1) == [9])
            socket.finish()
            #expect(try await socket.receive(1) == [])
        }
        let record = try #require(try await mesh.client.records.first { $0.direction == .outbound })
        #expect(record.security == .plaintext)
        #expect(record.destination == target)
        #expect(record.failure == nil)
        #expect(questions.asked == 1)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("is refused with the reason when nobody can be asked, or nobody answers", arguments: [true, false])
    func refused(isToldWhy: Bool) async throws {
        let questions = Questions()
        let mesh = try await mesh(questions, timeout: isToldWhy ? .seconds(60) : .milliseconds(200))
        let reached = Mutex(false)
        let server = try TestProgram.server(on: mesh.server.host, port: 7000) { _, _ in reached.withLock { $0 = true } }
        let target = SocketAddress(mesh.server.host.v4, port: 7000)
        async let answered: Void = {
            let question = try await questions.next()
            if isToldWhy { question.answer("no agent: connection refused") }
        }()
        await #expect(throws: (any Error).self) {
            _ = try await TestProgram.connect(from: mesh.client.host, to: target).received(1)
        }
        try await answered
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        let reason = isToldWhy ? "no agent: connection refused" : "no answer"
        #expect(
            record.failure?.description
                == "the mesh does not know \(target.ip), and could not ask for it: \(reason)")
        #expect(!reached.withLock { $0 })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }
}
