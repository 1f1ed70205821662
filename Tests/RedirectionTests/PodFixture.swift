import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit

@testable import Redirection

/// A pod and a peer on one bridge, and a directory for the records; all gone with the last reference.
final class PodFixture: Sendable {
    let network: TestNetwork
    let directory: String

    var pod: TestNetwork.Host { network.hosts[0] }
    var peer: TestNetwork.Host { network.hosts[1] }

    init() throws {
        network = try TestNetwork(hosts: 2)
        directory = try TestNetwork.makeDirectory("linux")
    }

    deinit { _ = TestNetwork.shell("rm -rf \(directory)") }

    func redirection(plan: RedirectionPlan = RedirectionPlan()) throws -> PodRedirection {
        try PodRedirection(pod: "pod-1", namespace: pod.namespace, stateDirectory: directory, plan: plan)
    }

    /// Everything that the redirection touches, as the usual tools print it.
    func trace() throws -> String {
        let settings = [
            "net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect", "net.ipv6.fwmark_reflect",
            "net.ipv4.tcp_timestamps",
        ]
        return try pod.shell(
            """
            nft list ruleset; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; \
            sysctl \(settings.joined(separator: " ")); ls \(directory)
            """)
    }

    // MARK: - The proxy's sockets

    static let proxyMark = TCPSocket.ListenOptions(mark: RedirectionPlan.proxyMark)

    func outboundListener(_ family: IPAddress.Family) throws -> OwnedDescriptor {
        try pod.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.loopback(family), port: 15001), dualStack: false, options: Self.proxyMark)
        }
    }

    func inboundListener() throws -> OwnedDescriptor {
        try pod.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.unspecified(.v6), port: 15006), dualStack: true,
                options: .init(transparent: true, mark: RedirectionPlan.proxyMark))
        }
    }

}
