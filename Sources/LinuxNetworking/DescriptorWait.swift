import CLinux
import Glibc
import Synchronization

/// Waits for one descriptor, with a deadline, and lets another thread call the waiting off.
///
/// One wait at a time.
final class DescriptorWait: Sendable {
    /// Tells one wait, and no later one, that nobody wants its result any more.
    final class Cancellation: Sendable {
        private let flag = Atomic(false)
        var isCancelled: Bool { flag.load(ordering: .acquiring) }
        func set() { flag.store(true, ordering: .releasing) }
    }

    private let wakeUp: OwnedDescriptor

    init() throws(Errno) {
        wakeUp = OwnedDescriptor(adopting: try checked(clinux_eventfd(), "eventfd"))
    }

    func cancel(_ cancellation: Cancellation) {
        cancellation.set()
        clinux_eventfd_signal(wakeUp.raw)
    }

    /// ETIMEDOUT at the deadline, ECANCELED when called off.
    func wait(
        for descriptor: Int32, _ events: Int16, until deadline: ContinuousClock.Instant?,
        _ cancellation: Cancellation?, _ call: String
    ) throws(Errno) {
        while true {
            if cancellation?.isCancelled == true { throw Errno(code: ECANCELED, call: call) }
            let patience = try milliseconds(until: deadline, call)
            let result = clinux_poll(descriptor, events, wakeUp.raw, patience)
            if result == -EINTR { continue }
            try checked(result, call)
            if result & 2 != 0 { clinux_eventfd_drain(wakeUp.raw) }
            if result & 1 != 0 { return }
        }
    }

    private func milliseconds(until deadline: ContinuousClock.Instant?, _ call: String) throws(Errno) -> Int32 {
        guard let deadline else { return -1 }
        let left = deadline - .now
        guard left > .zero else { throw Errno(code: ETIMEDOUT, call: call) }
        let (seconds, attoseconds) = left.components
        return Int32(min(seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1, 3_600_000))
    }
}
