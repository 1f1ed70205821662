import FoundationEssentials
import Glibc
import Redirection
import Testing

@testable import culvert

/// The built `culvert`: CULVERT_BINARY, or what the tests were built with.
let culvertBinary: String? = {
    if let path = getenv("CULVERT_BINARY") { return String(cString: path) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { bytes in
        readlink("/proc/self/exe", bytes.bindMemory(to: CChar.self).baseAddress!, bytes.count)
    }
    guard count > 0, let slash = buffer[..<count].lastIndex(of: UInt8(ascii: "/")) else { return nil }
    let beside = String(decoding: buffer[..<slash], as: UTF8.self) + "/culvert"
    return access(beside, X_OK) == 0 ? beside : nil
}()

@Suite(
    "culvert demo", .serialized, .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"))
struct DemoCommandTests {
    private struct Document: Decodable {
        struct Pair: Decodable {
            struct Pod: Decodable {
                let name: String
                let spiffeID: String?
            }
            let from: Pod
            let to: Pod
            let protected: Bool
            let plaintextBytes: UInt64
            let tunnelBytes: UInt64
            let tlsVersion: String?
        }
        let schemaVersion: Int
        let passed: Bool
        let pairs: [Pair]
        let checks: [DemoCheckText]
    }

    private struct DemoCheckText: Decodable {
        let name: String
        let passed: Bool
        let detail: String
    }

    /// One `culvert demo --json`, its output in files.
    private final class Command {
        let pid: pid_t
        private let directory: String

        init(_ name: String, _ options: [String] = []) throws {
            directory = "/tmp/cvt-demo-\(getpid())-\(name)"
            mkdir(directory, 0o700)
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            let flags = O_WRONLY | O_CREAT | O_TRUNC
            posix_spawn_file_actions_addopen(&actions, 1, "\(directory)/output", flags, 0o600)
            posix_spawn_file_actions_addopen(&actions, 2, "\(directory)/errors", flags, 0o600)
            let binary = try #require(culvertBinary)
            let words = [binary, "demo", "--json"] + options
            let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
            defer { for argument in arguments { free(argument) } }
            var pid: pid_t = 0
            let result = posix_spawn(&pid, binary, &actions, nil, arguments, environ)
            try #require(result == 0, "cannot start \(binary): errno \(result)")
            self.pid = pid
        }

        deinit {
            try? DirectoryTree.empty(directory)
            rmdir(directory)
        }

        var output: String { (try? TextFile.read("\(directory)/output")) ?? "" }
        var errors: String { (try? TextFile.read("\(directory)/errors")) ?? "" }

        /// The exit code, or 128 and the signal.
        func end() -> Int32 {
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
        }

        func waitUntil(errorsContain text: String) throws {
            let end = ContinuousClock.now + .seconds(60)
            while !errors.contains(text), .now < end { usleep(20_000) }
            try #require(errors.contains(text), "\(errors)")
        }
    }

    private func expectNothingLeft() {
        #expect(NamedNetworkNamespace.names(prefix: DemoTopology.prefix).isEmpty)
        #expect(!TextFile.exists("/run/culvert-demo"))
        #expect(processes.isEmpty)
    }

    /// Command lines of what a demo started.
    private var processes: [String] {
        DirectoryTree.entries("/proc").compactMap { try? TextFile.read("/proc/\($0)/cmdline") }
            .filter { $0.contains("/run/culvert-demo/") || $0.contains("demo-app") }
    }

    private func expectSuccess(_ command: Command) throws {
        #expect(command.end() == 0, "\(command.errors)")
        let document = try JSONDecoder().decode(Document.self, from: Data(command.output.utf8))
        #expect(document.schemaVersion == 1)
        #expect(document.passed)
        for check in document.checks { #expect(check.passed, "\(check.name): \(check.detail)") }
        #expect(document.pairs.count == 5)
        for pair in document.pairs {
            let name = "\(pair.from.name) → \(pair.to.name)"
            #expect((pair.plaintextBytes == 0) == pair.protected, "\(name)")
            #expect((pair.tunnelBytes > 0) == pair.protected, "\(name)")
            #expect(pair.tlsVersion == (pair.protected ? "TLSv1.3" : nil), "\(name)")
            #expect(pair.from.spiffeID == (pair.protected ? "spiffe://culvert.demo/ns/shop/sa/\(pair.from.name)" : nil))
        }
        expectNothingLeft()
    }

    @Test("succeeds, and succeeds again", .timeLimit(.minutes(3)))
    func twice() throws {
        try expectSuccess(Command("first"))
        try expectSuccess(Command("second"))
    }

    /// What it captures is the same, and so is what the wire carries; its hooks and cgroups go with it.
    @Test("succeeds with connections captured where they are made", .timeLimit(.minutes(3)))
    func sockets() throws {
        try expectSuccess(Command("sockets", ["--backend", "ebpf"]))
        let root = try Cgroup.root()
        #expect(DirectoryTree.entries(root).filter { $0.hasPrefix(DemoTopology.prefix) } == [])
    }

    @Test(
        "killed in the middle, leaves processes to nobody, and the next one removes the rest", .timeLimit(.minutes(3)))
    func killed() throws {
        let first = try Command("killed")
        try first.waitUntil(errorsContain: "an agent and a proxy")
        kill(first.pid, SIGKILL)
        #expect(first.end() == 128 + SIGKILL)
        let end = ContinuousClock.now + .seconds(5)
        while !processes.isEmpty, .now < end { usleep(20_000) }
        #expect(processes.isEmpty)
        let second = try Command("after")
        try expectSuccess(second)
        #expect(second.errors.contains("removed what an earlier demo left behind"))
    }

    @Test("refuses to run beside another, and Ctrl-C leaves nothing", .timeLimit(.minutes(2)))
    func interrupted() throws {
        let first = try Command("interrupted")
        try first.waitUntil(errorsContain: "programs in the pods")
        let second = try Command("beside")
        #expect(second.end() == 1)
        #expect(second.errors.contains("error: another demo is running"))
        #expect(second.output.isEmpty)
        kill(first.pid, SIGINT)
        #expect(first.end() == 128 + SIGINT, "\(first.errors)")
        #expect(first.output.isEmpty)
        expectNothingLeft()
    }
}
