/// Decides what an informer does next. It has no clock, no chance of its own and no connection.
struct InformerMachine<Object: KubernetesObject>: Sendable {
    enum Step: Equatable {
        case list
        case watch(after: String)
    }

    /// Deliver, wait, go on.
    struct Action: Equatable {
        var deliveries: [InformerEvent<Object>] = []
        var wait: Duration?
        var next: Step
    }

    /// What came over a watch that stands.
    struct Received: Equatable {
        var deliveries: [InformerEvent<Object>] = []
        /// The watch has nothing more to say: end it, and tell the machine why.
        var end: KubernetesError?
    }

    /// A watch that ends sooner and has told nothing is a failure.
    static var briefWatch: Duration { .seconds(1) }
    /// A list that is older than what is known is asked for so many times more: then the cluster's store has been set back.
    static var olderListsMax: Int { 2 }

    private(set) var cache = ObjectCache<Object>()
    private var backoff = Backoff()
    private var isInterrupted = false
    private var olderLists = 0
    /// This watch has brought something.
    private var hasProgressed = false

    mutating func listed(_ list: ObjectList<Object>, draw: Double) -> Action {
        if let known = cache.resourceVersion, known != list.resourceVersion,
            ResourceVersion.isNotAfter(list.resourceVersion, known), olderLists < Self.olderListsMax
        {
            olderLists += 1
            return Action(wait: backoff.next(draw: draw), next: .list)
        }
        olderLists = 0
        let isFirst = cache.resourceVersion == nil
        let changes = cache.replace(with: list)
        var deliveries: [InformerEvent<Object>] = []
        if isFirst {
            deliveries.append(.synced(list.items))
        } else if !changes.isEmpty {
            deliveries.append(.changed(changes))
        }
        return Action(deliveries: deliveries, next: .watch(after: list.resourceVersion))
    }

    mutating func listFailed(_ error: KubernetesError, draw: Double) -> Action {
        failed(error, draw: draw, next: .list)
    }

    mutating func watchOpened() -> [InformerEvent<Object>] {
        hasProgressed = false
        defer { isInterrupted = false }
        return isInterrupted ? [.resumed] : []
    }

    mutating func received(_ events: [WatchEvent<Object>]) -> Received {
        var changes: [ObjectChange<Object>] = []
        var received = Received()
        for event in events {
            if case .error(let refusal) = event {
                received.end = .refused(refusal)
                break
            }
            hasProgressed = true
            backoff.reset()
            changes += cache.apply(event)
        }
        if !changes.isEmpty { received.deliveries = [.changed(changes)] }
        return received
    }

    /// `error` is nil where the server ended it in good order.
    mutating func watchEnded(_ error: KubernetesError?, lasted: Duration, draw: Double) -> Action {
        let again = Step.watch(after: cache.resourceVersion ?? "")
        if lasted >= Self.briefWatch { backoff.reset() }
        guard let error else {
            guard lasted < Self.briefWatch, !hasProgressed else { return Action(next: again) }
            return Action(wait: backoff.next(draw: draw), next: again)
        }
        switch error {
        case .refused(let refusal) where refusal.reason == .expired:
            // Ordinary, after a gap; but not over and over.
            guard backoff.failures > 0 else {
                _ = backoff.next(draw: draw)
                return Action(next: .list)
            }
            return Action(wait: backoff.next(draw: draw), next: .list)
        case .refused(let refusal) where refusal.reason == .tooManyRequests:
            return failed(error, draw: draw, next: again)
        case .unreachable, .timedOut, .credentials:
            return failed(error, draw: draw, next: again)
        case .refused, .unusable:
            return failed(error, draw: draw, next: .list)
        }
    }

    private mutating func failed(_ error: KubernetesError, draw: Double, next: Step) -> Action {
        var asked: Duration?
        if case .refused(let refusal) = error { asked = refusal.retryAfter.map { min($0, .seconds(300)) } }
        let deliveries: [InformerEvent<Object>] = isInterrupted ? [] : [.interrupted("\(error)")]
        isInterrupted = true
        return Action(deliveries: deliveries, wait: backoff.next(draw: draw, atLeast: asked), next: next)
    }
}
