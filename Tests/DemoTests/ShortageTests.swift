import Glibc
import NamespaceKit
import Testing

@testable import culvert

/// The kernel says no to the data plane's loops, as strace(1) makes it.
@Suite(
    "Under a kernel that has no memory left", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(3)))
struct ShortageTests {
    private struct Shortage {
        /// strace's names of system calls.
        let calls: String
        let error: String
        /// As strace counts: the first one that fails, and how many later the next.
        let when: String
        /// Whether what fails is only late.
        var isHidden = false
    }

    private static let shortages = [
        Shortage(calls: "accept4", error: "ENOMEM", when: "1+2", isHidden: true),
        Shortage(calls: "accept4", error: "ENOBUFS", when: "1+3", isHidden: true),
        Shortage(calls: "socket", error: "ENOMEM", when: "1+3"),
        Shortage(calls: "bind,connect", error: "ENOBUFS", when: "1+4"),
        Shortage(calls: "readv,recvfrom,recvmsg", error: "ENOMEM", when: "3+7"),
        Shortage(calls: "sendto,sendmsg", error: "ENOBUFS", when: "3+7"),
    ]

    @Test("proxies refuse with the reason or answer late, live on, and serve everybody again afterwards")
    func shortages() throws {
        let scene = try DemoScene("short")
        defer { scene.remove() }
        let mesh = try scene.startMesh()
        defer { mesh.stop() }
        let traffic = DemoTraffic(network: scene.network)
        let ways = scene.network.topology.pairs.filter(\.isProtected).flatMap(DemoTraffic.ways)
        try expectService(ways, traffic, mesh)

        for shortage in Self.shortages {
            let tracer = try Tracer(
                threads: loops(of: mesh),
                arguments: [
                    "-e", "trace=\(shortage.calls)", "-e",
                    "inject=\(shortage.calls):error=\(shortage.error):when=\(shortage.when)",
                ], log: scene.directory.file("strace"))
            var failed = 0
            for way in ways + ways {
                if case .failed = traffic.attempt(way, limit: .seconds(10)) { failed += 1 }
            }
            try tracer.end()
            print(
                "\(shortage.calls) \(shortage.error): \(tracer.injected) calls, \(failed) of \(2 * ways.count) connections"
            )
            #expect(tracer.injected > 0, "\(shortage)")
            #expect((failed > 0) == !shortage.isHidden, "\(shortage): \(failed)")
            try mesh.checkAlive()
            try expectService(ways, traffic, mesh)
        }
        let said = try scene.network.topology.nodes.map {
            try TextFile.read(scene.directory.file("logs/proxy-\($0.name).log"))
        }.joined()
        for reason in ["Cannot allocate memory", "No buffer space available"] { #expect(said.contains(reason)) }
        #expect(scene.taps.count(scene.network.topology.pairs.filter(\.isProtected)).plaintext == 0)
        #expect(scene.taps.report.failures == [])
    }

    /// Every way answers, if need be after what is broken has been noticed.
    private func expectService(_ ways: [DemoTraffic.Way], _ traffic: DemoTraffic, _ mesh: MeshProcesses) throws {
        var left = ways
        let answered = try Interruption.wait(atMost: .seconds(30)) {
            while let way = left.first {
                guard case .answered = traffic.attempt(way, limit: .seconds(10)) else { return false }
                left.removeFirst()
            }
            return true
        }
        try #require(answered, "\(left.first.map { "\($0)" } ?? "")\n\(mesh.logTails)")
    }

    private func loops(of mesh: MeshProcesses) throws -> [String] {
        try mesh.culvert.flatMap { process in
            let tasks = "/proc/\(process.stamp.pid)/task"
            return try DirectoryTree.entries(tasks).filter {
                try TextFile.read("\(tasks)/\($0)/comm").hasPrefix("culvert-loop")
            }
        }
    }
}

/// An strace that is attached to threads.
private final class Tracer {
    private let process: DemoProcess
    private let log: String

    init(threads: [String], arguments: [String], log: String) throws {
        try #require(!threads.isEmpty)
        self.log = log
        unlink(log)
        process = try DemoProcess(
            "strace", executable: "/usr/bin/strace",
            arguments: ["-qq", "-o", log] + arguments + threads.flatMap { ["-p", $0] }, in: nil, logPath: nil,
            parent: ParentPipe())
        let isAttached = try Interruption.wait(atMost: .seconds(10)) {
            threads.allSatisfy { thread in
                let status = (try? TextFile.read("/proc/\(thread)/status")) ?? ""
                return status.split(separator: "\n").contains { $0.hasPrefix("TracerPid:") && !$0.hasSuffix("\t0") }
            }
        }
        try #require(isAttached)
    }

    /// Returns when the threads are on their own again.
    func end() throws {
        process.signal(SIGTERM)
        try #require(process.waitForEnd(atMost: .seconds(10)))
    }

    /// Calls that did not reach the kernel.
    var injected: Int { ((try? TextFile.read(log)) ?? "").split(separator: "\n").count { $0.contains("(INJECTED)") } }
}
