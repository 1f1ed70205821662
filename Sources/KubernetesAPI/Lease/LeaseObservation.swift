import FoundationEssentials

/// Who holds a lease, judged as client-go's leader election does: by our own clock alone. Somebody else's lease has run out when we
/// have seen it unchanged for its whole duration; what its holder's clock wrote into it is only compared, never read.
struct LeaseObservation: Sendable {
    struct Timing: Sendable, Equatable {
        /// How long others wait for a holder that does not renew.
        var leaseDuration: Duration = .seconds(15)
        /// A holder that could not renew for so long stops leading.
        var renewDeadline: Duration = .seconds(10)
        var retryPeriod: Duration = .seconds(2)

        init() {}
    }

    enum Decision: Equatable {
        case create(Lease)
        /// With the resource version that was seen: of several that try, one gets it.
        case update(Lease)
        /// Somebody else has it.
        case held(by: String)
    }

    let identity: String
    let key: ObjectKey
    let timing: Timing
    private var observed: (record: Lease, at: ContinuousClock.Instant)?
    /// When the lease was last written by us, and said so.
    private(set) var renewed: ContinuousClock.Instant?

    init(key: ObjectKey, identity: String, timing: Timing = Timing()) {
        self.key = key
        self.identity = identity
        self.timing = timing
    }

    /// What to do now that the lease has been read; nil where there is none. `now` is monotonic, `date` goes into the record.
    mutating func decide(
        _ lease: Lease?, now: ContinuousClock.Instant, date: Date
    ) -> Decision {
        guard let lease else {
            var fresh = Lease(metadata: ObjectMeta(name: key.name, namespace: key.namespace))
            claim(&fresh, from: nil, date: date)
            return .create(fresh)
        }
        observe(lease, now: now)
        let duration = lease.leaseDurationSeconds.map { Duration.seconds(max($0, 0)) } ?? timing.leaseDuration
        if let holder = lease.holderIdentity, holder != identity, let observed, observed.at + duration > now {
            return .held(by: holder)
        }
        var next = lease
        claim(&next, from: lease, date: date)
        return .update(next)
    }

    /// The server has taken what was decided, at the request's beginning.
    mutating func written(_ lease: Lease, at start: ContinuousClock.Instant) {
        observed = (lease, start)
        renewed = start
    }

    /// Whether we may still act as the holder: others cannot have taken over yet.
    func isLeading(now: ContinuousClock.Instant) -> Bool {
        guard let renewed else { return false }
        return renewed + timing.renewDeadline > now
    }

    /// What gives the lease up at once; nil where it is not ours.
    mutating func release(date: Date) -> Lease? {
        renewed = nil
        guard var lease = observed?.record, lease.holderIdentity == identity else { return nil }
        lease.holderIdentity = nil
        lease.leaseDurationSeconds = 1
        lease.renewTime = Timestamp(microseconds: date)
        lease.acquireTime = lease.renewTime
        return lease
    }

    private mutating func observe(_ lease: Lease, now: ContinuousClock.Instant) {
        if let observed, observed.record.content == lease.content {
            self.observed = (lease, observed.at)
        } else {
            observed = (lease, now)
        }
    }

    private func claim(_ lease: inout Lease, from old: Lease?, date: Date) {
        let time = Timestamp(microseconds: date)
        if old?.holderIdentity != identity {
            lease.acquireTime = time
            lease.leaseTransitions = old.map { ($0.leaseTransitions ?? 0) + 1 } ?? 0
        }
        lease.holderIdentity = identity
        lease.leaseDurationSeconds = Int(timing.leaseDuration.components.seconds)
        lease.renewTime = time
    }
}
