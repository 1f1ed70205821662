import CLinux
import Glibc
import Synchronization

/// Watches the TCP packets of one interface, both directions, and counts them by flow: evidence, not an estimate.
///
/// Belongs to the network namespace of the thread that makes it. Counts on a thread of its own until the last reference goes.
/// Needs CAP_NET_RAW.
public final class PacketTap: Sendable {
    public struct Snapshot: Equatable, Sendable {
        public fileprivate(set) var table = FlowTable()
        /// All packets, of any protocol.
        public fileprivate(set) var packets: UInt64 = 0
        /// Packets that the kernel had no room for: with any of these the counts prove nothing.
        public fileprivate(set) var dropped: UInt64 = 0
        /// The error that ended the counting, such as ENETDOWN when the interface went away.
        public fileprivate(set) var failure: Errno?

        public var flows: [FlowKey: FlowCount] { table.flows }
    }

    /// What the thread and this object share.
    private final class Capture: Sendable {
        /// In bytes: enough for the headers, and the payload's beginning.
        private static let frameBytes = 256
        private static let batch = 4_096

        let socket: OwnedDescriptor
        let wakeUp: OwnedDescriptor
        let isStopped = Atomic(false)
        private let snapshot = Mutex(Snapshot())

        init(socket: consuming OwnedDescriptor, wakeUp: consuming OwnedDescriptor) {
            self.socket = socket
            self.wakeUp = wakeUp
        }

        func run() {
            while !isStopped.load(ordering: .acquiring) {
                guard drain().failure == nil else { return }
                _ = clinux_poll(socket.raw, Int16(POLLIN), wakeUp.raw, -1)
            }
        }

        /// Takes what waits, up to a bound, and answers the state after it.
        func drain() -> Snapshot {
            snapshot.withLock { snapshot in
                withUnsafeTemporaryAllocation(byteCount: Capture.frameBytes, alignment: 16) { frame in
                    for _ in 0..<Capture.batch {
                        let count = clinux_packet_receive(socket.raw, frame.baseAddress, frame.count)
                        guard count >= 0 else {
                            if count != -Int(EAGAIN) {
                                snapshot.failure = Errno(code: Int32(-count), call: "receive packet")
                            }
                            break
                        }
                        snapshot.packets += 1
                        let captured = UnsafeRawBufferPointer(rebasing: frame[..<min(count, frame.count)])
                        guard let segment = TCPSegment.parse(captured, frameCount: count) else { continue }
                        snapshot.table.count(
                            segment, start: UnsafeRawBufferPointer(rebasing: captured[segment.payload]))
                    }
                }
                snapshot.dropped += UInt64(max(0, clinux_packet_drops(socket.raw)))
                return snapshot
            }
        }
    }

    private static let bufferBytes: Int32 = 64 << 20

    private let capture: Capture

    /// ENODEV for an interface that does not exist.
    public init(interface name: String) throws(Errno) {
        let index = clinux_interface_index(name)
        guard index > 0 else { throw Errno(code: ENODEV, call: "find interface \(name)") }
        let socket = OwnedDescriptor(
            adopting: try checked(clinux_packet_socket(index, PacketTap.bufferBytes), "open packet socket on \(name)"))
        let wakeUp = OwnedDescriptor(adopting: try checked(clinux_eventfd(), "eventfd"))
        let capture = Capture(socket: socket, wakeUp: wakeUp)
        self.capture = capture
        _ = try SystemThread(name: "packet-tap") { capture.run() }
    }

    deinit {
        capture.isStopped.store(true, ordering: .releasing)
        clinux_eventfd_signal(capture.wakeUp.raw)
    }

    /// Includes every packet that had arrived when this was called, unless more arrive than can be counted.
    public func snapshot() -> Snapshot { capture.drain() }
}
