import Synchronization

/// What a role still waits for, by name; ready when nothing is left.
public final class Readiness: Sendable {
    private let pending: Mutex<[String: String]>

    /// The role is not ready until each of `conditions` was met once.
    public init(conditions: [String]) {
        pending = Mutex(Dictionary(conditions.map { ($0, "not started") }) { first, _ in first })
    }

    public func met(_ condition: String) {
        pending.withLock { $0[condition] = nil }
    }

    /// The condition holds no more, or not yet; `reason` is shown to whoever asks.
    public func unmet(_ condition: String, because reason: String) {
        pending.withLock { $0[condition] = reason }
    }

    /// `nil` when ready, else every open condition with its reason, sorted.
    public var notReadyBecause: String? {
        let open = pending.withLock { $0 }
        guard !open.isEmpty else { return nil }
        return open.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: "; ")
    }
}
