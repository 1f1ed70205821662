import Glibc
public import IPAddressing
public import LinuxNetworking

/// Hosts of network namespaces of their own, joined by a bridge in another: no traffic of theirs leaves it.
///
/// The namespaces have no names, and go with the last reference: a test that crashes leaves nothing behind.
/// Needs root.
public final class TestNetwork: Sendable {
    public struct Host: Sendable {
        public let namespace: NetworkNamespace
        public let v4: IPAddress
        public let v6: IPAddress

        public func address(_ family: IPAddress.Family) -> IPAddress { family == .v4 ? v4 : v6 }

        /// What the shell prints when it runs `command` in the host's namespace; errors too.
        public func shell(_ command: String) throws -> String {
            try namespace.run { TestNetwork.shell("(\(command)) 2>&1") }
        }

        /// An application's listener on all of its addresses.
        public func listener(_ port: UInt16) throws -> OwnedDescriptor {
            try namespace.run {
                try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: port), dualStack: true)
            }
        }
    }

    /// A new directory `/tmp/cvt-NAME-…`, whoever made it removes.
    public static func makeDirectory(_ name: String) throws(Errno) -> String {
        var template = Array("/tmp/cvt-\(name)-\(getpid())-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(code: errno, call: "mkdtemp") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public let hosts: [Host]
    /// The node of these pods: the other ends of their veths, `host0` and on, are in it.
    public let bridge: NetworkNamespace

    /// Host `n` has 10.244.9.(10+n)/24 and fd00:244:9::(10+n)/64 on `eth0`, and everything else is reachable there too as
    /// far as its routes say.
    public init(hosts count: Int) throws {
        let bridge = try NetworkNamespace.make()
        try bridge.run {
            try Sysctl.write("net/ipv6/conf/default/disable_ipv6", "1")
            let routes = try RouteSocket()
            try routes.createBridge("br0")
            try routes.setUp("br0")
        }
        var hosts: [Host] = []
        for index in 0..<count {
            let number = UInt32(10 + index)
            let host = Host(
                namespace: try NetworkNamespace.make(), v4: IPAddress(v4: 10 << 24 | 244 << 16 | 9 << 8 | number),
                v6: IPAddress(v6High: 0xfd00_0244_0009_0000, low: UInt64(number)))
            try host.namespace.run {
                let routes = try RouteSocket()
                try routes.setUp("lo")
                // No link-local addresses that come and go by themselves while a test looks.
                try Sysctl.write("net/ipv6/conf/default/addr_gen_mode", "1")
                let port = "host\(index)"
                try routes.createVeth("eth0", peerName: port, peerNamespace: bridge)
                try bridge.run {
                    let routes = try RouteSocket()
                    try routes.setMaster(port, bridge: "br0")
                    try routes.setUp(port)
                }
                try routes.setUp("eth0")
                try routes.addAddress(host.v4, prefixLength: 24, to: "eth0")
                try routes.addAddress(host.v6, prefixLength: 64, to: "eth0")
                for text in ["0.0.0.0/0", "::/0"] {
                    guard let everything = IPPrefix(text) else { continue }
                    try routes.addRoute(to: everything, link: "eth0")
                }
            }
            try host.namespace.run { try TestNetwork.awaitRest(of: host) }
            hosts.append(host)
        }
        self.bridge = bridge
        self.hosts = hosts
    }

    /// The kernel learns of the other end, and makes the IPv6 address usable, a moment later by itself.
    private static func awaitRest(of host: Host) throws {
        let localTable: UInt32 = 255
        for _ in 0..<500 {
            let isUsable = try RouteSocket().routes(.v6, table: localTable).contains {
                $0.destination == IPPrefix(host.v6, length: 128)
            }
            if isUsable, try hasCarrier("eth0") { return }
            usleep(10_000)
        }
        throw Errno(code: ETIMEDOUT, call: "wait for \(host.v6) on eth0")
    }

    private static func hasCarrier(_ name: String) throws -> Bool {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { throw Errno(code: errno, call: "getifaddrs") }
        defer { freeifaddrs(list) }
        return sequence(first: list, next: { $0?.pointee.ifa_next }).contains { entry in
            guard let entry = entry?.pointee else { return false }
            return entry.ifa_flags & UInt32(IFF_RUNNING) != 0 && String(cString: entry.ifa_name) == name
        }
    }

    /// What the shell prints when it runs `command` in the calling thread's namespace.
    public static func shell(_ command: String) -> String {
        // Threads of the tests may block signals, and children inherit that: `timeout` would end none of them.
        var (none, present) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &present)
        let opened = popen(command, "r")
        let failure = errno
        pthread_sigmask(SIG_SETMASK, &present, nil)
        guard let stream = opened else { return "popen: errno \(failure)" }
        defer { pclose(stream) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            guard count > 0 else { return String(decoding: text, as: UTF8.self) }
            text += buffer[..<count]
        }
    }
}
