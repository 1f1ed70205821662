public import SPIFFE
internal import Synchronization

/// The trust bundle now and whenever it changes, for any number of subscribers up to a bound.
///
/// A slow subscriber skips versions; it never delays another, and always gets the newest.
public final class BundleFeed: Sendable {
    private struct State {
        var bundle: TrustBundle
        var tainted: [AuthorityID] = []
        var federated = TrustBundleSet()
        var isFinished = false
        var next: UInt64 = 0
        var subscribers: [UInt64: (node: NodeName?, continuation: AsyncStream<TrustBundle>.Continuation)] = [:]
    }

    private let state: Mutex<State>
    private let subscribersMax: Int

    init(_ bundle: TrustBundle, subscribersMax: Int) {
        state = Mutex(State(bundle: bundle))
        self.subscribersMax = subscribersMax
    }

    public var current: TrustBundle { state.withLock { $0.bundle } }
    /// Roots that are in the bundle still, and whose leaves are to be issued anew at once.
    public var tainted: [AuthorityID] { state.withLock { $0.tainted } }
    /// The bundles of the trust domains that this one is federated with.
    public var federated: TrustBundleSet { state.withLock { $0.federated } }

    /// Begins with the current bundle. Ends when the subscriber stops iterating; at once when the authority is going away.
    public func updates(for node: NodeName? = nil) throws(Denial) -> AsyncStream<TrustBundle> {
        let (stream, continuation) = AsyncStream.makeStream(of: TrustBundle.self, bufferingPolicy: .bufferingNewest(1))
        let subscriber = state.withLock { state -> UInt64? in
            guard state.subscribers.count < subscribersMax else { return nil }
            continuation.yield(state.bundle)
            state.next += 1
            if state.isFinished {
                continuation.finish()
            } else {
                state.subscribers[state.next] = (node, continuation)
            }
            return state.next
        }
        guard let subscriber else { throw .rateLimited(retryAfter: .seconds(30)) }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.subscribers.removeValue(forKey: subscriber) }
        }
        return stream
    }

    /// The nodes that follow it now.
    public var followers: Set<NodeName> {
        state.withLock { state in Set(state.subscribers.values.compactMap(\.node)) }
    }

    /// Under the lock, so that two publications reach every subscriber in their order; yielding never blocks. What is published
    /// already is not repeated.
    func publish(_ bundle: TrustBundle, tainted: [AuthorityID] = []) {
        state.withLock { state in
            guard bundle != state.bundle || tainted != state.tainted else { return }
            (state.bundle, state.tainted) = (bundle, tainted)
            for subscriber in state.subscribers.values { subscriber.continuation.yield(bundle) }
        }
    }

    /// The federated bundles have changed: every subscriber gets the present bundle once more, to look at both.
    public func publish(federated: TrustBundleSet) {
        state.withLock { state in
            guard state.federated != federated else { return }
            state.federated = federated
            for subscriber in state.subscribers.values { subscriber.continuation.yield(state.bundle) }
        }
    }

    /// Ends every stream: the authority is going away.
    public func finish() {
        state.withLock { $0.isFinished = true }
        finish { _ in true }
    }

    /// Ends the streams of a node that has lost its standing.
    func finish(_ node: NodeName) { finish { $0 == node } }

    private func finish(where isMeant: (NodeName?) -> Bool) {
        // Outside the lock: a stream that ends unsubscribes.
        let ended = state.withLock { state in state.subscribers.values.filter { isMeant($0.node) } }
        for subscriber in ended { subscriber.continuation.finish() }
    }
}
