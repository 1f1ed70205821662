import Glibc
import IPAddressing
import LinuxNetworking

/// Carries connections from an address in one network namespace to another in the test's own, byte by byte; what is in them, TLS, is
/// between its ends.
final class Relay: Sendable {
    private final class Descriptor: Sendable {
        let owned: OwnedDescriptor

        init(_ owned: consuming OwnedDescriptor) { self.owned = owned }

        /// Everything, or false.
        func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
            var left = bytes
            while !left.isEmpty {
                let count = send(owned.raw, left.baseAddress, left.count, Int32(MSG_NOSIGNAL))
                if count > 0 {
                    left = UnsafeRawBufferPointer(rebasing: left.dropFirst(count))
                } else {
                    guard errno == EAGAIN || errno == EINTR else { return false }
                    var waiting = pollfd(fd: owned.raw, events: Int16(POLLOUT), revents: 0)
                    poll(&waiting, 1, -1)
                }
            }
            return true
        }
    }

    private let listener: Descriptor

    /// Until this object goes.
    init(in namespace: NetworkNamespace, listening address: SocketAddress, to target: SocketAddress) throws {
        let listener = try namespace.run {
            Descriptor(try TCPSocket.listen(on: address, dualStack: false, options: .init(reusePort: false)))
        }
        self.listener = listener
        _ = try SystemThread(name: "relay") {
            while let accepted = Self.accept(listener) {
                guard let inner = try? TCPSocket.connect(to: target) else { continue }
                let pair = [accepted, Descriptor(inner)]
                _ = try? SystemThread(name: "relay") { Self.carry(pair) }
            }
        }
    }

    deinit { shutdown(listener.owned.raw, Int32(SHUT_RDWR)) }

    /// nil when the listener is shut down.
    private static func accept(_ listener: Descriptor) -> Descriptor? {
        while true {
            var waiting = pollfd(fd: listener.owned.raw, events: Int16(POLLIN), revents: 0)
            poll(&waiting, 1, -1)
            if waiting.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0 { return nil }
            if let accepted = try? TCPSocket.accept(listener.owned.raw) { return Descriptor(accepted) }
        }
    }

    /// Until both have said their last, or one is broken.
    private static func carry(_ pair: [Descriptor]) {
        var open: Set<Int> = [0, 1]
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while !open.isEmpty {
            var waiting = pair.indices.map { index in
                pollfd(fd: open.contains(index) ? pair[index].owned.raw : -1, events: Int16(POLLIN), revents: 0)
            }
            poll(&waiting, 2, -1)
            for index in open where waiting[index].revents != 0 {
                let count = recv(pair[index].owned.raw, &buffer, buffer.count, Int32(MSG_DONTWAIT))
                if count < 0, errno == EAGAIN || errno == EINTR { continue }
                guard count >= 0 else { return }
                if count == 0 {
                    shutdown(pair[1 - index].owned.raw, Int32(SHUT_WR))
                    open.remove(index)
                } else if !buffer.withUnsafeBytes({
                    pair[1 - index].write(UnsafeRawBufferPointer(rebasing: $0[..<count]))
                }) {
                    return
                }
            }
        }
    }
}
