import FoundationEssentials
import Glibc
import KubernetesKit
import Testing

/// The benchmark's program, on a small cluster: what it finds wrong is a failure here; what it measures is not looked at.
@Suite("A busy cluster", .timeLimit(.minutes(5)))
struct ClusterLoadTests {
    /// Built with the tests, beside them.
    private static let program: String? = {
        let tests = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return tests.flatMap { tests in
            let beside = tests[..<(tests.lastIndex(of: "/") ?? tests.startIndex)] + "/cluster-load"
            return access(String(beside), X_OK) == 0 ? String(beside) : nil
        }
    }()

    @Test(
        "every change at the API server reaches a proxy's mesh, and a proxy that comes back is told nothing that it knows",
        .enabled(if: geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0, "needs root and nft: runs a node's agent"))
    func load() async throws {
        let log = "/tmp/culvert-cluster-load-\(getpid()).log"
        defer { unlink(log) }
        let process = try ChildProcess([try #require(Self.program)], log: log)
        #expect(await process.waitForEnd(atMost: .seconds(240)))
        await process.stop()
        let said = try String(contentsOfFile: log, encoding: .utf8)
        #expect(process.succeeded, "\(said)")
        #expect(said.contains("\"changes_seen\": 150.0"), "\(said)")
    }
}
