import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

/// The proxy is known by the cgroup of the process that connects to the agent.
@Suite(
    "A proxy that is known by its connection",
    .enabled(if: geteuid() == 0, "needs root: makes cgroups, and hooks connections of its own network namespaces"))
struct ProxyCgroupTests {
    /// A shell of the pod's that is alone in a cgroup, and connects when it is told to.
    private final class Proxy {
        let pid: Int32
        let cgroup: String
        private let fifo: String

        init(_ fixture: CaptureFixture, _ name: String) throws {
            cgroup = fixture.cgroup + "/" + name
            fifo = fixture.base.directory + "/" + name
            try #require(mkdir(cgroup, 0o755) == 0 && mkfifo(fifo, 0o600) == 0)
            let target = "/dev/tcp/\(fixture.peer.v4)/8080"
            let script = "echo $$ > \(cgroup)/cgroup.procs; exec 3<> \(fifo); read -u 3; echo hello > \(target)"
            let output = try fixture.pod.shell("bash -c '\(script)' > /dev/null 2>&1 & echo $!")
            pid = try #require(output.split(separator: "\n").first.flatMap { Int32($0) })
            for _ in 0..<1000 where try Cgroup.processes(in: cgroup) != [pid] { usleep(5_000) }
        }

        func connect() { _ = TestNetwork.shell("echo > \(fifo)") }

        func leave() throws {
            kill(pid, SIGKILL)
            for _ in 0..<1000 where rmdir(cgroup) != 0 { usleep(5_000) }
        }
    }

    private func capture(_ fixture: CaptureFixture) throws -> SocketCapture {
        try SocketCapture(directory: fixture.pins, proxy: .connection)
    }

    @Test("connects freely once it has connected, and not before")
    func admission() throws {
        let fixture = try CaptureFixture()
        let capture = try capture(fixture)
        let redirection = try fixture.redirection(capture)
        try redirection.install()
        let service = try fixture.peer.listener(8080)
        let captured = try fixture.outboundListener(.v4)
        let early = try Proxy(fixture, "early")
        early.connect()
        _ = try TestConnection.accept(captured).raw
        try early.leave()

        let proxy = try Proxy(fixture, "proxy")
        #expect(capture.obstacle(toProxy: proxy.pid) == nil)
        #expect(try redirection.missing() == [])
        proxy.connect()
        let accepted = try TestConnection.accept(service)
        #expect(try TestConnection.receive(from: accepted) == "hello\n")
        try proxy.leave()
    }

    @Test("one that an earlier agent let in is let in still; those that are gone make room")
    func succession() throws {
        let fixture = try CaptureFixture()
        let first = try Proxy(fixture, "first")
        let identifier = try Cgroup.identifier(of: first.cgroup)
        #expect(try capture(fixture).obstacle(toProxy: first.pid) == nil)

        let capture = try capture(fixture)
        #expect(try known(fixture) == [identifier])
        try first.leave()
        let second = try Proxy(fixture, "second")
        #expect(capture.obstacle(toProxy: second.pid) == nil)
        #expect(try known(fixture) == [Cgroup.identifier(of: second.cgroup)])
        try second.leave()
    }

    @Test("is refused where others are in its cgroup, and in the root of the cgroups")
    func company() throws {
        let fixture = try CaptureFixture()
        let capture = try capture(fixture)
        let proxy = try Proxy(fixture, "proxy")
        let other = try Proxy(fixture, "other")
        _ = TestNetwork.shell("echo \(other.pid) > \(proxy.cgroup)/cgroup.procs")
        #expect(capture.obstacle(toProxy: proxy.pid)?.contains("shares cgroup") == true)
        _ = TestNetwork.shell("echo \(other.pid) > \(other.cgroup)/cgroup.procs")
        #expect(capture.obstacle(toProxy: proxy.pid) == nil)
        // Who comes later does not end it.
        _ = TestNetwork.shell("echo \(other.pid) > \(proxy.cgroup)/cgroup.procs")
        #expect(capture.obstacle(toProxy: proxy.pid) == nil)
        _ = TestNetwork.shell("echo \(other.pid) > \(try Cgroup.root())/cgroup.procs")
        #expect(capture.obstacle(toProxy: other.pid)?.contains("root of the cgroups") == true)
        #expect(capture.obstacle(toProxy: Int32.max) != nil)
        try other.leave()
        try proxy.leave()
    }

    @Test("a cgroup that is named holds alone, whatever was let in before")
    func named() throws {
        let fixture = try CaptureFixture()
        let proxy = try Proxy(fixture, "proxy")
        #expect(try capture(fixture).obstacle(toProxy: proxy.pid) == nil)
        let named = try fixture.capture()
        #expect(try known(fixture) == [Cgroup.identifier(of: fixture.cgroup)])
        #expect(named.obstacle(toProxy: proxy.pid) != nil)
        try proxy.leave()
    }

    private func known(_ fixture: CaptureFixture) throws -> [UInt64]? {
        let path = PinDirectory(unchecked: fixture.pins).path + "/proxies"
        return try withPinnedMap(path, UInt64.self, UInt32.self) { (map) throws(RedirectionError) in
            try map.keys(blank: 0)
        }
    }
}
