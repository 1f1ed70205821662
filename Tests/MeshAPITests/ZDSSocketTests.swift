import Glibc
import LinuxNetworking
import Logging
import Synchronization
import Testing

@testable import MeshAPI

/// The pods that a client serves, and which of them it cannot.
private final class Served: Sendable {
    struct Failure: Error, CustomStringConvertible {
        var description: String { "no room" }
    }

    private let state = Mutex((namespaces: [String: UInt64](), stopped: [String](), failing: Set<String>()))

    /// By uid: the inode of the namespace.
    var namespaces: [String: UInt64] { state.withLock { $0.namespaces } }
    var stopped: [String] { state.withLock { $0.stopped } }
    func fail(_ uids: Set<String>) { state.withLock { $0.failing = uids } }

    func client(_ path: String) -> ZDSClient {
        ZDSClient(path: path, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { uid, info, namespace in
            try self.state.withLock { state in
                if state.failing.contains(uid) { throw Failure() }
                state.namespaces[uid] = namespace.inode
            }
        } delete: { uid in
            self.state.withLock { state in
                state.namespaces[uid] = nil
                state.stopped.append(uid)
            }
        }
    }
}

@Suite("ZDS over a Unix socket", .timeLimit(.minutes(1)))
struct ZDSSocketTests {
    private let path = "/tmp/cvt-meshapi-\(getpid())-\(UInt32.random(in: 0 ... .max)).zds"
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Runs a server and a client side by side, and ends both.
    private func running(
        _ server: ZDSServer?, _ client: ZDSClient?, _ body: () async throws -> Void
    ) async throws {
        let serving = server.map { server in Task { try await server.run() } }
        let following = client.map { client in Task { await client.run() } }
        try await body()
        following?.cancel()
        serving?.cancel()
        await following?.value
        _ = await serving?.result
    }

    @Test(
        "pods arrive with their own network namespace, come, go, and come back in another one",
        .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
    func namespaces() async throws {
        let acknowledged = Mutex<[String]>([])
        let server = try ZDSServer(path: path, logger: logger) { uid, error in
            acknowledged.withLock { $0.append("\(uid) \(error ?? "ok")") }
        }
        let first = try NetworkNamespace.make()
        let second = try NetworkNamespace.make()
        #expect(first.inode != second.inode)
        try server.add(uid: "a", info: webInfo, namespace: first)
        let served = Served()
        let client = served.client(path)
        try await running(server, client) {
            #expect(await eventually { client.status.unreadyReason == nil })
            #expect(served.namespaces == ["a": first.inode])
            try server.add(uid: "b", info: webInfo, namespace: second)
            #expect(await eventually { served.namespaces["b"] == second.inode })
            server.delete(uid: "b")
            #expect(await eventually { served.stopped == ["b"] })
            try server.add(uid: "a", info: webInfo, namespace: second)
            #expect(await eventually { served.namespaces["a"] == second.inode })
            #expect(served.stopped == ["b", "a"])
            #expect(await eventually { server.isSettled })
            #expect(acknowledged.withLock { $0 } == ["a ok", "b ok", "b ok", "a ok"])
        }
    }

    @Test("the agent's restart leaves pods served; what it does not name again is stopped")
    func agentRestart() async throws {
        let here = try NetworkNamespace.current()
        let served = Served()
        let client = served.client(path)
        let following = Task { await client.run() }
        do {
            let server = try ZDSServer(path: path, logger: logger)
            for uid in ["a", "b"] { try server.add(uid: uid, info: webInfo, namespace: here) }
            try await running(server, nil) {
                #expect(await eventually { served.namespaces.count == 2 })
            }
        }
        #expect(await eventually { client.status.unreadyReason == "not connected to the node agent" })
        #expect(served.namespaces.count == 2)
        let server = try ZDSServer(path: path, logger: logger)
        try server.add(uid: "b", info: webInfo, namespace: here)
        try await running(server, nil) {
            #expect(await eventually { client.status.unreadyReason == nil })
            #expect(served.namespaces == ["b": here.inode])
            #expect(served.stopped == ["a"])
        }
        following.cancel()
        await following.value
    }

    @Test("a pod that cannot be served is reported, makes the proxy unready, and is tried again")
    func retried() async throws {
        let refusals = Mutex<[String]>([])
        let server = try ZDSServer(path: path, logger: logger) { uid, error in
            if let error { refusals.withLock { $0.append("\(uid): \(error)") } }
        }
        let served = Served()
        served.fail(["a"])
        try server.add(uid: "a", info: webInfo, namespace: try .current())
        let client = served.client(path)
        try await running(server, client) {
            #expect(await eventually { refusals.withLock { $0 } == ["a: failure to start proxy: no room"] })
            #expect(await eventually { client.status.unreadyReason?.contains("no room") == true })
            served.fail([])
            #expect(await eventually { client.status.unreadyReason == nil })
            #expect(served.namespaces.keys.sorted() == ["a"])
        }
    }

    @Test(
        "a client that breaks the protocol is let go, and the next one is served",
        arguments: ["", "ff", "0802", "0801 0801", "0801 0a00 0a00", "0801 ff"])
    func brokenClient(packets: String) async throws {
        let server = try ZDSServer(path: path, logger: logger)
        try await running(server, nil) {
            let socket = try SeqpacketSocket(connectingTo: path)
            for packet in packets.split(separator: " ") {
                try await socket.send(bytes(String(packet)), deadline: .now + .seconds(5))
            }
            // Without a hello at all, it is the clock that ends the connection.
            let end = ContinuousClock.now + .seconds(15)
            while let _ = try? await socket.receive(deadline: end) {}
            #expect(ContinuousClock.now < end)
            let served = Served()
            let client = served.client(path)
            try await running(nil, client) {
                #expect(await eventually { client.status.unreadyReason == nil })
            }
        }
    }

    @Test(
        "a server that breaks the protocol is told so, and left",
        arguments: ["ff", "0a00", "120412027531 ff", "1a00 1a00", "1a00 2a040a027531"])
    func brokenServer(packets: String) async throws {
        let listener = try SeqpacketListener(path: path)
        let served = Served()
        let client = served.client(path)
        try await running(nil, client) {
            let socket = try await listener.accept(deadline: .now + .seconds(5))
            let hello = try await socket.receive(deadline: .now + .seconds(5))
            #expect(hello?.bytes == bytes("0801"))
            var answers: [String?] = []
            for packet in packets.split(separator: " ") {
                try await socket.send(bytes(String(packet)), deadline: .now + .seconds(5))
                let answer = try #require(try await socket.receive(deadline: .now + .seconds(5)))
                answers.append(try ZDSMessage.decodeAcknowledgement(answer.bytes))
            }
            #expect(answers.last.flatMap { $0 } != nil)
            #expect(try await socket.receive(deadline: .now + .seconds(5)) == nil)
        }
    }

    @Test("a descriptor of anything but a network namespace is refused")
    func wrongDescriptor() async throws {
        let listener = try SeqpacketListener(path: path)
        let client = Served().client(path)
        try await running(nil, client) {
            let socket = try await listener.accept(deadline: .now + .seconds(5))
            _ = try await socket.receive(deadline: .now + .seconds(5))
            let add = try ZDSMessage.encode(.add(uid: "a", webInfo))
            try await socket.send(add, passing: 0, deadline: .now + .seconds(5))
            let answer = try #require(try await socket.receive(deadline: .now + .seconds(5)))
            #expect(try ZDSMessage.decodeAcknowledgement(answer.bytes)?.contains("not a network namespace") == true)
        }
    }

    @Test("hundreds of pods leave no descriptor behind")
    func descriptors() async throws {
        let server = try ZDSServer(path: path, logger: logger)
        let served = Served()
        let client = served.client(path)
        try await running(server, client) {
            #expect(await eventually { client.status.unreadyReason == nil })
            let before = try openDescriptors()
            for round in 0..<4 {
                for number in 0..<100 {
                    try server.add(uid: "\(round)-\(number)", info: webInfo, namespace: try .current())
                }
                #expect(await eventually(within: .seconds(20)) { served.namespaces.count == 100 })
                for number in 0..<100 { server.delete(uid: "\(round)-\(number)") }
                #expect(await eventually(within: .seconds(20)) { served.namespaces.isEmpty })
            }
            // Other tests of the process come and go: a leak would be 400.
            #expect(await eventually { ((try? openDescriptors()) ?? .max) < before + 100 })
        }
    }

    private func openDescriptors() throws -> Int {
        let directory = try #require(opendir("/proc/self/fd"))
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        return count
    }
}
