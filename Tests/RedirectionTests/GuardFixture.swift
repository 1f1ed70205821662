import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit

@testable import Redirection

/// Three pods on one node: `a` and `b` are enrolled, `c` is not. Pins are on a BPF file system of the test's own, which goes with
/// everything on it.
final class GuardFixture: Sendable {
    let network: TestNetwork
    let directory: String

    var a: TestNetwork.Host { network.hosts[0] }
    var b: TestNetwork.Host { network.hosts[1] }
    var c: TestNetwork.Host { network.hosts[2] }
    var pins: String { directory + "/bpf/culvert" }

    static let isPossible = geteuid() == 0

    init() throws {
        network = try TestNetwork(hosts: 3)
        directory = try TestNetwork.makeDirectory("guard")
    }

    deinit { _ = TestNetwork.shell("umount \(directory)/bpf 2>/dev/null; rm -rf \(directory)") }

    func makeGuard(
        _ mode: PodGuard.Mode = .enforce, _ attachment: PodGuard.Attachment = .automatic
    ) throws -> PodGuard {
        try PodGuard(directory: pins, mode: mode, host: network.bridge, attachment: attachment)
    }

    /// With both on it: `pod-a` and `pod-b`.
    func guarded(
        _ mode: PodGuard.Mode = .enforce, _ attachment: PodGuard.Attachment = .automatic
    ) throws -> PodGuard {
        let podGuard = try makeGuard(mode, attachment)
        try podGuard.publish([a.v4, a.v6, b.v4, b.v6])
        try podGuard.attach(pod: "pod-a", in: a.namespace)
        try podGuard.attach(pod: "pod-b", in: b.namespace)
        return podGuard
    }

    /// Begins to connect; the kernel goes on trying.
    func dial(
        _ host: TestNetwork.Host, _ family: IPAddress.Family, _ port: UInt16, from source: TestNetwork.Host
    ) throws -> OwnedDescriptor {
        try source.namespace.run { try TCPSocket.connect(to: SocketAddress(host.address(family), port: port)) }
    }

    /// What arrives at the other end of a connection that works, once each way.
    func talk(
        _ host: TestNetwork.Host, _ family: IPAddress.Family, _ port: UInt16, from source: TestNetwork.Host
    ) throws -> [String?] {
        let listener = try host.listener(port)
        let client = try source.namespace.run {
            try TestConnection.connect(to: SocketAddress(host.address(family), port: port), milliseconds: 10_000)
        }
        let server = try TestConnection.accept(listener, milliseconds: 10_000)
        try TestConnection.send("ping", over: client)
        let ping = try TestConnection.receive(from: server, milliseconds: 10_000)
        try TestConnection.send("pong", over: server)
        return [ping, try TestConnection.receive(from: client, milliseconds: 10_000)]
    }

    /// What the host's ends have on them, as the usual tools print it; and the pins.
    func trace() throws -> String {
        try network.bridge.run {
            TestNetwork.shell(
                """
                for i in 0 1 2; do tc qdisc show dev host$i; tc filter show dev host$i ingress; \
                tc filter show dev host$i egress; done 2>&1; ls -R \(directory)
                """)
        }
    }
}

extension PodGuard {
    func packets(_ uid: String, _ direction: GuardDirection, _ reason: GuardReason) throws -> UInt64 {
        try counts(of: uid).first { $0.direction == direction && $0.reason == reason }?.packets ?? 0
    }
}
