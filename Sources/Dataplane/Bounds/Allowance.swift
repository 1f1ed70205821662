import IPAddressing

/// Lets something happen so many times at once, and from then on so many times a second.
public struct Allowance: Sendable {
    public struct Rate: Sendable {
        public let burst: Int
        public let perSecond: Int

        public init(burst: Int, perSecond: Int) {
            self.burst = burst
            self.perSecond = perSecond
        }

        fileprivate var interval: Duration { .seconds(1) / perSecond }
    }

    /// When everything that was taken will have come back.
    private var restored: ContinuousClock.Instant

    init(at now: ContinuousClock.Instant) { restored = now }

    mutating func take(at now: ContinuousClock.Instant, _ rate: Rate) { restored = max(now, restored) + rate.interval }

    func isUsedUp(at now: ContinuousClock.Instant, _ rate: Rate) -> Bool {
        now.duration(to: restored) > rate.interval * (rate.burst - 1)
    }

    func isWhole(at now: ContinuousClock.Instant) -> Bool { restored <= now }
}

/// An allowance for each address that has used some of it.
struct AddressAllowances {
    /// An address beyond is not counted until others have theirs back: the table is bounded, and so is all that one address can do.
    static let addressesMax = 4096

    private let rate: Allowance.Rate
    private var allowances: [IPAddress: Allowance] = [:]

    init(rate: Allowance.Rate) { self.rate = rate }

    var count: Int { allowances.count }

    mutating func take(_ address: IPAddress, at now: ContinuousClock.Instant) {
        if allowances.count >= Self.addressesMax, allowances[address] == nil {
            allowances = allowances.filter { !$0.value.isWhole(at: now) }
            guard allowances.count < Self.addressesMax else { return }
        }
        allowances[address, default: Allowance(at: now)].take(at: now, rate)
    }

    func isUsedUp(_ address: IPAddress, at now: ContinuousClock.Instant) -> Bool {
        allowances[address]?.isUsedUp(at: now, rate) ?? false
    }
}
