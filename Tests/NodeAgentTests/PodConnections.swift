import Glibc
import IPAddressing
import LinuxNetworking
import Logging
import NamespaceKit
import Synchronization

@testable import Redirection

/// Many connections from one host to another, with both their ends.
final class PodConnections: Sendable {
    private let descriptors: [Int32]

    /// The listener is gone afterwards.
    init(_ count: Int, from client: TestNetwork.Host, to address: SocketAddress, at server: TestNetwork.Host) throws {
        let listener = try server.listener(address.port)
        descriptors = try client.namespace.run {
            try (0..<count).flatMap { _ in
                let connection = try TestConnection.connect(to: address)
                let accepted = try TestConnection.accept(listener)
                return [connection.release(), accepted.release()]
            }
        }
    }

    deinit { for descriptor in descriptors { close(descriptor) } }

    /// How many ends have been told that it is over.
    var ended: Int { descriptors.count { PodConnections.isEnded($0) } }

    static func isEnded(_ descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) <= 0 && errno != EAGAIN
    }
}

/// A connection of `web`'s application to `peer`'s, as the proxy of `web` has it; with the proxy's listener.
final class ProxiedConnection: Sendable {
    private let listener: OwnedDescriptor
    private let client: OwnedDescriptor
    private let accepted: OwnedDescriptor

    init(_ fixture: EnrolmentFixture, _ family: IPAddress.Family) throws {
        let isCapturedAtSockets = fixture.backend == .ebpf
        let mark = isCapturedAtSockets ? RedirectionPlan.loopMark : RedirectionPlan.proxyMark
        listener = try fixture.web.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.loopback(family), port: 15001), dualStack: false,
                options: .init(transparent: isCapturedAtSockets, mark: mark))
        }
        if isCapturedAtSockets {
            let path = SocketCapture.listenerMap(ofPod: "web-uid", directory: fixture.pins)
            guard try ListenerMap.put(listener.raw, at: path, slot: family == .v4 ? 0 : 1) else {
                throw Errno(code: ENOENT, call: "find \(path)")
            }
        }
        let destination = SocketAddress(fixture.peer.address(family), port: 8080)
        client = try fixture.web.namespace.run { try TestConnection.connect(to: destination) }
        accepted = try TestConnection.accept(listener)
    }

    /// Both ways.
    func carries(_ text: String) throws -> Bool {
        try TestConnection.send(text, over: client)
        let there = try TestConnection.receive(from: accepted)
        try TestConnection.send(text, over: accepted)
        return try there == text && TestConnection.receive(from: client) == text
    }

    /// Whether the proxy gets a new one of the application's to the same destination.
    func isFollowed(_ fixture: EnrolmentFixture) throws -> Bool {
        let destination = TCPSocket.peerAddress(client.raw) ?? fixture.service
        let next = try fixture.web.namespace.run { try TestConnection.connect(to: destination) }
        let taken = try TestConnection.accept(listener)
        try TestConnection.send("next", over: next)
        return try TestConnection.receive(from: taken) == "next"
    }

    /// As a proxy that was killed; the application's end stays, with nobody behind it.
    func abandon(_ fixture: EnrolmentFixture) throws {
        _ = try fixture.web.shell("sysctl -qw net.ipv4.tcp_fin_timeout=1")
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        dup2(nothing, accepted.raw)
        close(nothing)
    }

    /// The application goes on talking, to whoever it may be.
    func talk(_ text: String) { try? TestConnection.send(text, over: client) }

    /// Both ends have been told so.
    var isReset: Bool { PodConnections.isEnded(client.raw) && PodConnections.isEnded(accepted.raw) }
}

/// What was logged, by message.
final class LogLines: Sendable {
    private let lines = Mutex<[(message: String, metadata: Logger.Metadata)]>([])

    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

    func values(of key: String, in message: String) -> [String] {
        lines.withLock { $0.filter { $0.message == message }.compactMap { $0.metadata[key].map { "\($0)" } } }
    }

    func has(_ message: String) -> Bool { lines.withLock { $0.contains { $0.message == message } } }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.MetadataValue? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metadata = metadata.merging(event.metadata ?? [:]) { $1 }
            lines.lines.withLock { $0.append(("\(event.message)", metadata)) }
        }
    }
}
