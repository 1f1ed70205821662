import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let canRun = geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0

/// The proxy speaks to an application with its client's address. When it also takes its client's port, two sockets in the pod are the two
/// ends of what looks like one connection.
@Suite(
    "Capture: a port that client and proxy both have",
    .enabled(if: canRun, "needs root and nft: makes network namespaces"))
struct PortCollisionTests {
    private static let port: UInt16 = 62_001

    private static func connect(
        _ host: TestNetwork.Host, to address: SocketAddress, from source: IPAddress, _ ports: ClosedRange<UInt16>,
        isProxy: Bool
    ) throws -> OwnedDescriptor {
        try host.namespace.run {
            try TestConnection.connect(
                to: address,
                options: .init(
                    mark: isProxy ? RedirectionPlan.loopMark : nil, source: source, bindToLoopback: isProxy,
                    localPortRange: ports), milliseconds: isProxy && ports.count == 1 ? 300 : TestConnection.patience)
        }
    }

    @Test(
        "is refused to the proxy, and no byte of one is taken for the other's", arguments: [true, false],
        [IPAddress.Family.v4, .v6])
    func collision(_ isSocketCapture: Bool, _ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(isSocketCapture ? try fixture.capture() : nil).install()
        let proxy = isSocketCapture ? try fixture.inboundListener() : try fixture.base.inboundListener()
        let application = try fixture.pod.listener(8080)
        let address = SocketAddress(fixture.pod.address(family), port: 8080)
        let source = fixture.peer.address(family)
        let client = try Self.connect(
            fixture.peer, to: address, from: source, Self.port...Self.port, isProxy: false)
        let accepted = try TestConnection.accept(proxy)
        #expect(TCPSocket.peerAddress(accepted.raw) == SocketAddress(source, port: Self.port))

        #expect(throws: Errno.self) {
            _ = try Self.connect(
                fixture.pod, to: address, from: source, Self.port...Self.port, isProxy: true
            ).raw
        }
        #expect(throws: Errno.self) { _ = try TestConnection.accept(application, milliseconds: 50) }
        try TestConnection.send("of the client", over: client)
        #expect(try TestConnection.receive(from: accepted) == "of the client")

        let delivered = try Self.connect(
            fixture.pod, to: address, from: source, Self.port + 1...Self.port + 100, isProxy: true)
        let served = try TestConnection.accept(application)
        try TestConnection.send("of the proxy", over: delivered)
        #expect(try TestConnection.receive(from: served) == "of the proxy")
        try TestConnection.send("to the proxy", over: served)
        #expect(try TestConnection.receive(from: delivered) == "to the proxy")
        try TestConnection.send("to the client", over: accepted)
        #expect(try TestConnection.receive(from: client) == "to the client")
    }
}
