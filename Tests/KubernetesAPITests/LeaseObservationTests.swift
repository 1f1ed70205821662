import FoundationEssentials
import Testing

@testable import KubernetesAPI

@Suite("Who holds a lease")
struct LeaseObservationTests {
    private static let start = ContinuousClock.now
    private static let date = Date(timeIntervalSince1970: 1_795_000_000)
    private static let key = ObjectKey(namespace: "n", name: "l")

    private static func lease(holder: String?, version: String = "1", seconds: Int? = 15, renewed: String = "r")
        -> Lease
    {
        var lease = Lease(metadata: ObjectMeta(name: "l", namespace: "n", resourceVersion: version))
        lease.holderIdentity = holder
        lease.leaseDurationSeconds = seconds
        lease.renewTime = Timestamp(renewed)
        lease.leaseTransitions = 4
        return lease
    }

    private func observation() -> LeaseObservation { LeaseObservation(key: Self.key, identity: "me") }

    private func at(_ seconds: Int) -> ContinuousClock.Instant { Self.start + .seconds(seconds) }

    @Test("nobody's is made, or taken at once")
    func free() {
        var observation = observation()
        guard case .create(let made) = observation.decide(nil, now: at(0), date: Self.date) else {
            Issue.record("made")
            return
        }
        #expect(made.holderIdentity == "me" && made.leaseTransitions == 0 && made.leaseDurationSeconds == 15)
        #expect(made.renewTime == Timestamp(microseconds: Self.date) && made.acquireTime == made.renewTime)
        guard case .update(let taken) = observation.decide(Self.lease(holder: nil), now: at(0), date: Self.date) else {
            Issue.record("taken")
            return
        }
        #expect(taken.holderIdentity == "me" && taken.leaseTransitions == 5)
        #expect(taken.metadata.resourceVersion == "1", "of two that try one is refused")
    }

    @Test("another's is taken when it was seen unchanged for its duration, by our own clock")
    func runsOut() {
        var observation = observation()
        let other = Self.lease(holder: "other")
        #expect(observation.decide(other, now: at(0), date: Self.date) == .held(by: "other"))
        // Written again by somebody, with no change to what it says.
        #expect(
            observation.decide(Self.lease(holder: "other", version: "2"), now: at(10), date: Self.date)
                == .held(by: "other"))
        #expect(observation.decide(other, now: at(14), date: Self.date) == .held(by: "other"))
        guard case .update(let taken) = observation.decide(other, now: at(15), date: Self.date) else {
            Issue.record("taken")
            return
        }
        #expect(taken.leaseTransitions == 5)
    }

    @Test("every renewal starts the wait anew, and the holder says how long it is")
    func renewed() {
        var observation = observation()
        for second in stride(from: 0, through: 60, by: 10) {
            let lease = Self.lease(holder: "other", renewed: "r\(second)")
            #expect(observation.decide(lease, now: at(second), date: Self.date) == .held(by: "other"))
        }
        let long = Self.lease(holder: "other", seconds: 60)
        #expect(observation.decide(long, now: at(100), date: Self.date) == .held(by: "other"))
        #expect(observation.decide(long, now: at(159), date: Self.date) == .held(by: "other"))
        guard case .update = observation.decide(long, now: at(160), date: Self.date) else {
            Issue.record("taken")
            return
        }
    }

    @Test("the holder leads while its renewals are younger than the deadline, which ends before others may take over")
    func leading() {
        var observation = observation()
        #expect(!observation.isLeading(now: at(0)))
        observation.written(Self.lease(holder: "me"), at: at(0))
        #expect(observation.isLeading(now: at(9)))
        #expect(!observation.isLeading(now: at(10)))
        #expect(observation.timing.renewDeadline < observation.timing.leaseDuration)
        let released = observation.release(date: Self.date)
        #expect(released?.holderIdentity == nil && released?.leaseDurationSeconds == 1)
        #expect(!observation.isLeading(now: at(1)))
        var other = self.observation()
        _ = other.decide(Self.lease(holder: "other"), now: at(0), date: Self.date)
        #expect(other.release(date: Self.date) == nil, "another's is not given up")
    }

    @Test("a renewal keeps when and how often the lease was taken")
    func renewal() {
        var observation = observation()
        var mine = Self.lease(holder: "me")
        mine.acquireTime = Timestamp("then")
        guard case .update(let renewed) = observation.decide(mine, now: at(0), date: Self.date) else {
            Issue.record("renewed")
            return
        }
        #expect(renewed.acquireTime == Timestamp("then") && renewed.leaseTransitions == 4)
        #expect(renewed.renewTime == Timestamp(microseconds: Self.date))
    }
}
