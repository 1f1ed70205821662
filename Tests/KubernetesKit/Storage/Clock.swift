public import FoundationEssentials
internal import Synchronization

/// The stand-in's wall clock: the machine's, and what a test has put it forward.
public final class Clock: Sendable {
    private let offset = Mutex(0.0)

    public init() {}

    public var now: Date { Date(timeIntervalSinceNow: offset.withLock { $0 }) }

    public func advance(seconds: Double) { offset.withLock { $0 += seconds } }
}

/// When pods with a grace period leave the storage after they are deleted.
public enum KubeletMode: Sendable {
    /// When a test says that the kubelet has stopped them.
    case confirmed
    /// At once, as if every container ended immediately.
    case immediate
}
