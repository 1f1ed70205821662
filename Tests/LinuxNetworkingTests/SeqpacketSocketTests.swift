import Glibc
import LinuxNetworking
import Testing

private func temporaryPath(_ name: String) -> String { "/tmp/cvt-linux-\(getpid())-\(name).sock" }

private func inode(_ descriptor: Int32) -> UInt64 {
    var status = stat()
    fstat(descriptor, &status)
    return UInt64(status.st_ino)
}

@Suite("Seqpacket sockets", .serialized)
struct SeqpacketSocketTests {
    @Test("a message arrives whole, with the descriptor that was passed")
    func message() throws {
        let listener = try SeqpacketListener(path: temporaryPath("message"))
        let client = try SeqpacketSocket(connectingTo: listener.path)
        let server = try listener.accept(deadline: .now + .seconds(2))
        let peer = try server.peerCredentials()
        #expect([UInt32(peer.pid), peer.uid, peer.gid] == [UInt32(getpid()), geteuid(), getegid()])
        let namespace = try NetworkNamespace.current()
        try client.send([1, 2, 3], passing: namespace.descriptor)
        try client.send([4])
        let first = try #require(try server.receive(deadline: .now + .seconds(2)))
        #expect(first.bytes == [1, 2, 3])
        do {
            guard let passed = first.descriptor?.take() else { throw Errno(code: ENOENT, call: "take descriptor") }
            #expect(inode(passed.raw) == namespace.inode)
            #expect(fcntl(passed.raw, F_GETFD) & FD_CLOEXEC != 0)
        }
        if first.descriptor?.take() != nil { Issue.record("a descriptor was given away twice") }
        let second = try #require(try server.receive())
        #expect(second.bytes == [4])
        #expect(second.descriptor == nil)
        client.close()
        #expect(try server.receive() == nil)
    }

    @Test("the file is the owner's alone, takes an abandoned one's place, and goes with the listener")
    func file() throws {
        let path = temporaryPath("file")
        do {
            let listener = try SeqpacketListener(path: path)
            var status = stat()
            #expect(stat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect { _ = try SeqpacketListener(path: path) } throws: { ($0 as? Errno)?.code == EADDRINUSE }
            _ = listener
        }
        #expect(access(path, F_OK) != 0)
        // What a killed process leaves behind.
        let left = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                #expect(bind(left, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0)
            }
        }
        close(left)
        _ = try SeqpacketListener(path: path)
    }

    @Test("a path too long for a socket is refused by name")
    func longPath() {
        #expect { _ = try SeqpacketListener(path: "/tmp/" + String(repeating: "x", count: 120)) } throws: {
            ($0 as? Errno)?.code == ENAMETOOLONG
        }
    }

    @Test("waiting ends at the deadline")
    func deadline() throws {
        let listener = try SeqpacketListener(path: temporaryPath("deadline"))
        #expect { _ = try listener.accept(deadline: .now + .milliseconds(10)) } throws: {
            ($0 as? Errno)?.code == ETIMEDOUT
        }
        let client = try SeqpacketSocket(connectingTo: listener.path)
        #expect { _ = try client.receive(deadline: .now + .milliseconds(10)) } throws: {
            ($0 as? Errno)?.code == ETIMEDOUT
        }
    }

    @Test("a full peer makes send wait until the deadline, and not beyond room")
    func full() throws {
        let listener = try SeqpacketListener(path: temporaryPath("full"))
        let client = try SeqpacketSocket(connectingTo: listener.path)
        let server = try listener.accept()
        let message = [UInt8](repeating: 7, count: SeqpacketSocket.packetBytesMax)
        var sent = 0
        #expect { while true { try client.send(message, deadline: .now + .milliseconds(10)); sent += 1 } } throws: {
            ($0 as? Errno)?.code == ETIMEDOUT
        }
        #expect(sent > 0)
        for _ in 0..<sent { #expect(try server.receive()?.bytes == message) }
        try client.send(message, deadline: .now + .milliseconds(10))
        #expect { try client.send(message + [0]) } throws: { ($0 as? Errno)?.code == EMSGSIZE }
    }

    @Test("too many descriptors are all closed, and the packet is refused", arguments: [2, 4, 5])
    func manyDescriptors(_ count: Int) throws {
        let pair = try RawPair()
        let (receiver, far) = (pair.near, pair.far)
        var stream: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | 0o4000, 0, &stream) == 0)
        defer { close(stream[0]) }
        #expect(send(descriptors: [Int32](repeating: stream[1], count: count), over: far) == 1)
        close(stream[1])
        #expect { _ = try receiver.receive() } throws: { ($0 as? Errno)?.code == EPROTO }
        // The end shows when the last copy of the other side is closed.
        var byte: UInt8 = 0
        #expect(recv(stream[0], &byte, 1, 0) == 0)
    }

    @Test("a packet longer than allowed is refused, not cut")
    func longPacket() throws {
        let pair = try RawPair()
        let (receiver, far) = (pair.near, pair.far)
        let long = [UInt8](repeating: 1, count: SeqpacketSocket.packetBytesMax + 1)
        #expect(Glibc.send(far, long, long.count, 0) == long.count)
        #expect { _ = try receiver.receive() } throws: { ($0 as? Errno)?.code == EMSGSIZE }
    }

    @Test("async: messages pass, a cancelled wait ends, and the next one is not hurt by it")
    func async() async throws {
        let listener = try SeqpacketListener(path: temporaryPath("async"))
        async let accepted = listener.accept(deadline: .now + .seconds(5))
        let client = try SeqpacketSocket(connectingTo: listener.path)
        let server = try await accepted
        for _ in 0..<20 {
            let waiting = Task { try await server.receive() }
            try await Task.sleep(for: .milliseconds(1))
            waiting.cancel()
            let result = await waiting.result
            #expect { _ = try result.get() } throws: { ($0 as? Errno)?.code == ECANCELED }
            async let next = server.receive(deadline: .now + .seconds(5))
            try await client.send([9], deadline: .now + .seconds(5))
            #expect(try await next?.bytes == [9])
        }
        let waiting = Task { try await server.receive() }
        client.close()
        #expect(try await waiting.value == nil)
    }
}

/// The far end does what no `SeqpacketSocket` would.
private final class RawPair {
    let near: SeqpacketSocket
    let far: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | 0o4000, 0, &ends) == 0)
        near = try SeqpacketSocket(adopting: OwnedDescriptor(adopting: ends[0]))
        far = ends[1]
    }

    deinit { close(far) }
}

/// One byte with all of `descriptors`; the layout is that of `struct cmsghdr` on 64-bit Linux.
private func send(descriptors: [Int32], over socket: Int32) -> Int {
    var control = [UInt64](repeating: 0, count: 2 + (descriptors.count + 1) / 2)
    control[0] = UInt64(16 + 4 * descriptors.count)
    control.withUnsafeMutableBytes { bytes in
        bytes.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: Int32.self)
        bytes.storeBytes(of: 1, toByteOffset: 12, as: Int32.self)
        for (index, descriptor) in descriptors.enumerated() {
            bytes.storeBytes(of: descriptor, toByteOffset: 16 + 4 * index, as: Int32.self)
        }
    }
    var byte: UInt8 = 1
    return withUnsafeMutableBytes(of: &byte) { payload in
        control.withUnsafeMutableBytes { control in
            var part = iovec(iov_base: payload.baseAddress, iov_len: 1)
            return withUnsafeMutablePointer(to: &part) { part in
                var message = msghdr()
                message.msg_iov = part
                message.msg_iovlen = 1
                message.msg_control = control.baseAddress
                message.msg_controllen = control.count
                return sendmsg(socket, &message, 0)
            }
        }
    }
}
