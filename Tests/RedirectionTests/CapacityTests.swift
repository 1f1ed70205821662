import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

/// Rows F24 and F25 of the capture checklist: more connections than there are ports, and more SYNs than there is room for.
@Suite(
    "Capture: capacity", .serialized,
    .enabled(if: geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0, "needs root and nft: makes network namespaces"))
struct CapacityTests {
    private static let families = [IPAddress.Family.v4, .v6]

    @Test(
        "F24: a source port serves as many destinations as there are, all at once, and each reaches its own",
        arguments: [false, true], families)
    func ports(_ isCapturedAtSockets: Bool, _ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(isCapturedAtSockets ? try fixture.capture() : nil).install()
        let listener =
            isCapturedAtSockets ? try fixture.outboundListener(family) : try fixture.base.outboundListener(family)
        _ = try fixture.pod.shell("sysctl -qw net.ipv4.ip_local_port_range='40000 40099'")
        // Ten times as many connections as the pod has ports.
        var sockets: [OwnedDescriptorBox] = []
        for index in 0..<1_000 {
            let ip =
                family == .v4
                ? IPAddress(v4: 0x0b00_0001 + UInt32(index / 90))
                : IPAddress(v6High: 0x2001_0db8_0000_0000, low: UInt64(1 + index / 90))
            let destination = SocketAddress(ip, port: 80)
            let client = try fixture.pod.namespace.run { try TestConnection.connect(to: destination) }
            let accepted = try TestConnection.accept(listener)
            let seen =
                isCapturedAtSockets
                ? TCPSocket.localAddress(accepted.raw) : TCPSocket.originalDestination(accepted.raw)
            #expect(seen == destination)
            try TestConnection.send("\(index)", over: client)
            #expect(try TestConnection.receive(from: accepted) == "\(index)")
            sockets += [OwnedDescriptorBox(client), OwnedDescriptorBox(accepted)]
        }
        #expect(sockets.count == 2_000)
    }

    @Test("F25: under a flood of SYNs at the tunnel's port, tunnels are made all the same", arguments: [false, true])
    func flood(_ isCapturedAtSockets: Bool) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(isCapturedAtSockets ? try fixture.capture() : nil).install()
        let listener = try fixture.pod.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.unspecified(.v6), port: 15008), dualStack: true, options: PodFixture.proxyMark)
        }
        let flooder = try FrameSocket(fixture.peer.namespace)
        let pod = fixture.pod.v4
        let mac = try fixture.pod.shell("ip -br link show eth0").split(separator: " ").dropFirst(2).first
        let target = try #require(mac).split(separator: ":").compactMap { UInt8($0, radix: 16) }
        for index in 0..<20_000 {
            // Of a neighbourhood where nobody is to say that it was not he.
            let source = IPAddress(v4: 0x0ac8_0000 + UInt32(index))
            var frame = TestFrame.syn(from: source, port: UInt16(1_024 + index % 60_000), to: pod, port: 15008)
            frame.bytes.replaceSubrange(0..<6, with: target)
            try flooder.send(frame)
        }
        func statistic(_ name: String) throws -> Int {
            Int(
                try fixture.pod.shell("nstat -asz \(name) | awk '/\(name)/ { print $2 }'").split(separator: "\n").first
                    ?? "0")
                ?? 0
        }
        #expect(try statistic("TcpExtSyncookiesSent") > 0)
        for family in Self.families {
            let client = try fixture.peer.namespace.run {
                try TestConnection.connect(
                    to: SocketAddress(fixture.pod.address(family), port: 15008), milliseconds: 10_000)
            }
            let accepted = try TestConnection.accept(listener, milliseconds: 10_000)
            try TestConnection.send("hello", over: client)
            #expect(try TestConnection.receive(from: accepted) == "hello")
        }
    }
}

/// Descriptors cannot be kept in arrays by themselves.
private final class OwnedDescriptorBox {
    private let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

extension TestFrame {
    /// One that a stack takes for true.
    static func syn(from source: IPAddress, port: UInt16, to destination: IPAddress, port destinationPort: UInt16)
        -> TestFrame
    {
        var body = segment(port, destinationPort, flags: 0x02, "")
        let pseudo = source.bytes + destination.bytes + [0, 6, 0, UInt8(body.count)]
        let sum = checksum(pseudo + body)
        body[16] = UInt8(sum >> 8)
        body[17] = UInt8(sum & 0xff)
        return .v4(from: source, to: destination, body)
    }
}
