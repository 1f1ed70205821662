import CLinux
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit

@testable import Redirection

/// A pod whose connections are captured where they are made, a peer, and a cgroup of the proxy's that nobody is in.
final class CaptureFixture: Sendable {
    let base: PodFixture
    let cgroup: String

    var pod: TestNetwork.Host { base.pod }
    var peer: TestNetwork.Host { base.peer }
    var pins: String { base.directory + "/bpf/culvert" }

    init() throws {
        base = try PodFixture()
        cgroup = try Cgroup.root() + "/" + (base.directory.split(separator: "/").last ?? "culvert")
        guard mkdir(cgroup, 0o755) == 0 else { throw Errno(code: errno, call: "make \(cgroup)") }
    }

    deinit {
        // The hooks first: detached with the file system that they are pinned on.
        _ = TestNetwork.shell("umount \(base.directory)/bpf 2>/dev/null; rmdir \(cgroup)")
    }

    func capture() throws -> SocketCapture { try SocketCapture(directory: pins, proxy: .cgroup(cgroup)) }

    func redirection(
        _ capture: SocketCapture?, _ plan: RedirectionPlan = RedirectionPlan()
    ) throws -> PodRedirection {
        try PodRedirection(
            pod: "pod-1", namespace: pod.namespace, stateDirectory: base.directory, plan: plan, capture: capture,
            pinDirectory: pins)
    }

    // MARK: - The proxy's sockets, as the proxy makes them

    func outboundListener(_ family: IPAddress.Family) throws -> OwnedDescriptor {
        let listener = try pod.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.loopback(family), port: 15001), dualStack: false,
                options: .init(transparent: true, mark: RedirectionPlan.loopMark))
        }
        try register(listener, slot: family == .v4 ? 0 : 1)
        return listener
    }

    func inboundListener() throws -> OwnedDescriptor {
        let listener = try base.inboundListener()
        try register(listener, slot: 2)
        return listener
    }

    private func register(_ listener: borrowing OwnedDescriptor, slot: UInt32) throws {
        let path = SocketCapture.listenerMap(ofPod: "pod-1", directory: pins)
        guard try ListenerMap.put(listener.raw, at: path, slot: slot) else {
            throw Errno(code: ENOENT, call: "find \(path)")
        }
    }

    /// The connection that the proxy makes to the application, with the client's address.
    func deliver(from client: IPAddress, to port: UInt16) throws -> OwnedDescriptor {
        try pod.namespace.run {
            try TestConnection.connect(
                to: SocketAddress(pod.address(client.family), port: port),
                options: .init(mark: RedirectionPlan.loopMark, source: client, bindToLoopback: true))
        }
    }

    /// What a shell prints that is in the pod's namespace and the proxy's cgroup.
    func shellOfProxy(_ command: String) throws -> String {
        try pod.shell("bash -c 'echo $$ > \(cgroup)/cgroup.procs; \(command)'")
    }

    /// Everything that a capture touches, in the pod and on the node.
    func trace() throws -> String {
        try base.trace() + TestNetwork.shell("ls -R \(base.directory)")
    }
}

/// An application's socket with options of its own, connected without waiting.
final class ApplicationSocket {
    let descriptor: OwnedDescriptor

    /// `domain` AF_INET6 with an IPv4 destination makes a mapped one. Errors of connect other than EINPROGRESS are thrown.
    init(
        _ destination: SocketAddress, domain: Int32, protocol number: Int32 = 0,
        _ prepare: (Int32) throws -> Void = { _ in }
    ) throws {
        let raw = clinux_socket(domain, Int32(SOCK_STREAM.rawValue), number)
        guard raw >= 0 else { throw Errno(code: -raw, call: "socket") }
        descriptor = OwnedDescriptor(adopting: raw)
        try prepare(raw)
        var endpoint = clinux_endpoint()
        endpoint.v6 = domain == AF_INET6
        endpoint.port = destination.port
        let bytes = endpoint.v6 ? destination.ip.mappedBytes : destination.ip.bytes
        withUnsafeMutableBytes(of: &endpoint.address) { $0.copyBytes(from: bytes) }
        let result = clinux_connect(raw, &endpoint)
        guard result == 0 || result == -EINPROGRESS else { throw Errno(code: -result, call: "connect") }
    }

    static func set(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) throws {
        let result = clinux_set_option(descriptor, level, name, value)
        guard result == 0 else { throw Errno(code: -result, call: "setsockopt \(name)") }
    }
}
