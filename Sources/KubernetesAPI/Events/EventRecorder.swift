public import FoundationEssentials
public import Logging
import Synchronization

/// Tells of what happens to objects by Events, where those who run the objects look: `kubectl describe`.
///
/// Never waits and never fails for its callers: what the bounds or a full queue hold back is counted in the next Event, or lost.
public final class EventRecorder: Sendable {
    private static let queueMax = 256

    private let client: KubernetesClient
    private let now: @Sendable () -> Date
    private let logger: Logger
    private let ledger: Mutex<EventLedger>
    private let actions: AsyncStream<EventLedger.Action>
    private let feed: AsyncStream<EventLedger.Action>.Continuation

    /// `component` is who speaks, such as `culvert-agent`; `instance` where it runs: the node or the pod.
    public init(
        client: KubernetesClient, component: String, instance: String, now: @escaping @Sendable () -> Date,
        logger: Logger
    ) {
        self.client = client
        self.now = now
        self.logger = logger
        ledger = Mutex(EventLedger(component: component, instance: instance))
        (actions, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.queueMax))
    }

    public func record(
        _ severity: Event.Severity, _ reason: String, on reference: ObjectReference, _ message: String
    ) {
        let (date, instant) = (now(), ContinuousClock.now)
        let suffix = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        let action = ledger.withLock {
            $0.record(
                severity, reason, on: reference, message: message, now: instant, date: date, suffix: suffix)
        }
        guard let action, case .dropped(.create(let event)) = feed.yield(action) else { return }
        ledger.withLock { $0.forget(event.key) }
    }

    /// Sends them, until its task is cancelled.
    public func run() async {
        for await action in actions { await send(action) }
    }

    private func send(_ action: EventLedger.Action) async {
        do {
            switch action {
            case .create(let event): _ = try await client.create(event)
            case .patch(let key, let changes):
                try await client.patch(Event.self, name: key.name, namespace: key.namespace, .merge(changes))
            }
        } catch is CancellationError {
            return
        } catch {
            let key =
                switch action {
                case .create(let event): event.key
                case .patch(let key, _): key
                }
            ledger.withLock { $0.forget(key) }
            // A namespace that is being deleted takes no Events.
            logger.debug("An Event could not be written", metadata: ["event": "\(key)", "reason": "\(error)"])
        }
    }
}
