import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let canRun = geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0

/// A cgroup of the proxy's, for as long as this lives.
private final class TestCgroup {
    let path: String

    init() throws {
        path = try Cgroup.root() + "/cvt-nft-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try make()
    }

    deinit { rmdir(path) }

    func make() throws {
        guard mkdir(path, 0o755) == 0 else { throw Errno(code: errno, call: "make \(path)") }
    }
}

@Suite("Pod redirection: hardened rules", .enabled(if: canRun, "needs root and nft: makes network namespaces"))
struct HardenedRulesTests {
    private static func plan(_ cgroup: TestCgroup) throws -> RedirectionPlan {
        var plan = RedirectionPlan()
        plan.proxyCgroup = try NFTCgroup(cgroup.path)
        return plan
    }

    /// Connects with the proxy's mark, which has bits of somebody else's, too.
    private static func claim(_ address: SocketAddress, cgroup: String?) -> String {
        let join = cgroup.map { "open('\($0)/cgroup.procs', 'w').write('0')" } ?? "pass"
        return """
            python3 -c "
            import socket
            \(join)
            s = socket.socket(socket.AF_INET\(address.ip.family == .v4 ? "" : "6"))
            s.setsockopt(socket.SOL_SOCKET, 36, 0x7539)
            s.settimeout(5)
            try: s.connect(('\(address.ip)', \(address.port))); print(s.recv(9).decode())
            except OSError as e: print(e.errno)
            "
            """
    }

    @Test(
        "the proxy's mark is the proxy's only in its cgroup", arguments: [IPAddress.Family.v4, .v6])
    func claims(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        let cgroup = try TestCgroup()
        let redirection = try fixture.redirection(plan: try Self.plan(cgroup))
        try redirection.install()
        let listener = try fixture.peer.listener(9000)
        let address = SocketAddress(fixture.peer.address(family), port: 9000)
        #expect(try fixture.pod.shell(Self.claim(address, cgroup: nil)) == "\(ECONNREFUSED)\n")
        #expect(throws: Errno.self) { _ = try TestConnection.accept(listener, milliseconds: 50) }
        #expect(try redirection.counters()?.claimsRefused == 1)

        let server = try fixture.peer.namespace.run {
            try SystemThread(name: "peer") { [raw = listener.raw] in
                var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
                guard poll(&waiting, 1, 10_000) == 1, let accepted = try? TCPSocket.accept(raw) else { return }
                try? TestConnection.send("passed", over: accepted)
            }
        }
        #expect(try fixture.pod.shell(Self.claim(address, cgroup: cgroup.path)) == "passed\n")
        _ = server
        #expect(try redirection.counters()?.claimsRefused == 1)
    }

    @Test("a proxy's cgroup that was removed and made again is seen as a change, and mended")
    func cgroupMadeAgain() throws {
        let fixture = try PodFixture()
        let before = try fixture.trace()
        let cgroup = try TestCgroup()
        let redirection = try fixture.redirection(plan: try Self.plan(cgroup))
        try redirection.install()
        #expect(try redirection.state() == .complete)
        guard rmdir(cgroup.path) == 0 else { throw Errno(code: errno, call: "rmdir") }
        try cgroup.make()
        #expect(try redirection.state() == .partial(["proxy's cgroup"]))
        try redirection.install()
        #expect(try redirection.state() == .complete)
        try redirection.remove()
        expectSame(before, try fixture.trace())
    }

    @Test("a cgroup that is not there, or is the whole machine's, is refused with the reason")
    func unusable() throws {
        let root = try Cgroup.root()
        #expect(throws: RedirectionError.self) { try NFTCgroup(root + "/cvt-nowhere") }
        #expect(throws: RedirectionError.self) { try NFTCgroup(root) }
    }

    /// What this machine shows of a redirection that folds every destination into one: as many connections from one small pool of ports as
    /// leave only pairs that the kernel remembers.
    private static func foldedConnections(_ pod: TestNetwork.Host) throws -> String {
        try pod.shell(
            """
            python3 -c "
            import socket
            proxy = socket.socket()
            proxy.bind(('127.0.0.1', 15001))
            proxy.listen(4096)
            proxy.setblocking(False)
            waiting = []
            for i in range(1500):
                app = socket.socket()
                app.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                app.setblocking(False)
                app.bind(('\(pod.v4)', 1 + i % 500))
                app.connect_ex(('10.9.%d.%d' % (i % 7, i % 5), 80))
                try:
                    accepted, _ = proxy.accept()
                    accepted.close()
                    app.close()
                except BlockingIOError:
                    waiting.append(app)
            names, values = [line.split() for line in open('/proc/thread-self/net/netstat')][:2]
            print(int(values[names.index('PAWSTimewait')]) > 0)
            "
            """)
    }

    @Test("connections that are folded into one are not taken for old ones, as they are with timestamps of their own")
    func timestamps() throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        #expect(try Self.foldedConnections(fixture.pod) == "False\n")
        let other = try PodFixture()
        try other.redirection().install()
        _ = try other.pod.shell("sysctl -w net.ipv4.tcp_timestamps=1")
        #expect(try Self.foldedConnections(other.pod) == "True\n")
    }

    /// What a CNI, a VPN or another mesh may have in a pod: under every name and number that we use, too.
    private static let foreign = """
        nft add table ip culvert; nft add chain ip culvert outbound '{ type nat hook output priority -100; }'; \
        nft add rule ip culvert outbound tcp dport 4242 counter redirect to :4243; \
        nft add table inet cni; nft add counter inet cni seen; nft add set inet cni hosts '{ type ipv4_addr; }'; \
        nft add element inet cni hosts '{ 10.0.0.1 }'; \
        nft add chain inet cni guard '{ type filter hook postrouting priority 0; }'; \
        nft add rule inet cni guard ip daddr @hosts drop; \
        iptables-nft -t mangle -A OUTPUT -p udp -j MARK --set-mark 0x9 2>/dev/null; \
        iptables-nft -t nat -A PREROUTING -p tcp --dport 81 -j REDIRECT --to-ports 82 2>/dev/null; \
        ip rule add pref 100 to 198.51.100.0/24 lookup 100; ip rule add pref 100 fwmark 0x53a lookup 100; \
        ip rule add pref 99 fwmark 0x8/0x8 lookup 133; ip -6 rule add pref 100 to 2001:db8:7::/48 lookup 100; \
        ip route add local default dev lo table 100; ip route add 198.51.100.0/24 dev eth0 table 133; \
        ip -6 route add unreachable default table 100; ip -6 route add 2001:db8:8::/48 dev eth0 table 133; \
        ip route add blackhole 203.0.113.0/24; tc qdisc add dev eth0 clsact
        """

    @Test("what others have in a pod is untouched while it is enrolled and after, whatever its names and numbers")
    func foreignObjects() throws {
        let fixture = try PodFixture()
        _ = try fixture.pod.shell(Self.foreign)
        let before = try fixture.trace() + fixture.pod.shell("tc qdisc show")
        for wanted in ["table ip culvert", "table inet cni", "lookup 133", "blackhole 203.0.113.0/24"] {
            #expect(before.contains(wanted))
        }
        let redirection = try fixture.redirection()
        for _ in 0..<2 { try redirection.install() }
        #expect(try redirection.state() == .complete)
        let during = try fixture.trace() + fixture.pod.shell("tc qdisc show")
        for line in before.split(separator: "\n") where !line.contains("net.ipv") {
            #expect(during.contains(line), "\(line)")
        }
        for _ in 0..<2 { try redirection.remove() }
        expectSame(before, try fixture.trace() + fixture.pod.shell("tc qdisc show"))
    }
}
