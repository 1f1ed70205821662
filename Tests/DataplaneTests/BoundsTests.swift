import IPAddressing
import Testing

@testable import Dataplane

@Suite("The counts by which a loop is bounded")
struct BoundsTests {
    private let first = IPAddress(v4: 0x0a00_0001)
    private let second = IPAddress(v4: 0x0a00_0002)

    // MARK: Sockets

    @Test("neither a pod nor a peer's address gets all sockets, and what is given back is free again")
    func sockets() {
        var limits = DataplaneLimits()
        (limits.socketsMax, limits.socketsPerPodMax, limits.socketsPerPeerMax) = (10, 7, 4)
        var budget = SocketBudget(limits: limits)
        let (mine, yours) = (budget.account("a", first), budget.account("a", second))
        budget.take(4, for: mine)
        #expect(budget.obstacle(to: 1, for: mine) == .peer)
        #expect(budget.obstacle(to: 1, for: budget.account("b", first)) == .peer)
        #expect(budget.obstacle(to: 3, for: yours) == nil)
        #expect(budget.obstacle(to: 4, for: yours) == .pod)
        budget.take(3, for: yours)
        #expect(budget.obstacle(to: 1, for: budget.account("a", nil)) == .pod)
        budget.take(3, for: budget.account("b", nil))
        #expect(budget.obstacle(to: 1, for: budget.account("c", nil)) == .total)
        budget.giveBack(4, for: mine)
        #expect(budget.obstacle(to: 4, for: mine) == nil)
        #expect(budget.used == 6)
    }

    @Test(
        "what descriptors allow lowers the limits, and leaves a part for everything else",
        arguments: [(1024, 1, 768), (20_000, 1, 18_750), (20_000, 2, 9375), (1 << 20, 8, 32_768), (100, 1, 64)])
    func descriptors(count: Int, loops: Int, expected: Int) {
        let limits = DataplaneLimits().fitting(descriptors: count, loops: loops)
        #expect(limits.socketsMax == expected)
        #expect(limits.socketsPerPodMax < limits.socketsMax)
        #expect(limits.socketsPerPeerMax <= limits.socketsMax / 2)
    }

    // MARK: Handshakes

    @Test("a flood of handshakes loses its own oldest, and one address does not get all places")
    func handshakes() {
        var queue = HandshakeQueue<String>(max: 4, perPeerMax: 3)
        let tickets = ["a", "b", "c"].map { queue.enter($0, from: first) }
        #expect(queue.isFull(for: first) && !queue.isFull(for: second))
        #expect(queue.displaced() == nil)
        #expect(queue.leave(tickets[1]) == "b")
        #expect(queue.leave(tickets[1]) == nil)
        for name in ["d", "e"] { _ = queue.enter(name, from: second) }
        #expect(queue.displaced() == "a")
        #expect(queue.displaced() == nil)
        _ = queue.enter("f", from: second)
        #expect(queue.isFull(for: second))
        #expect(queue.displaced() == "c")
        #expect(queue.count == 3)
    }

    // MARK: Rates

    @Test("an allowance is used up by its burst, and comes back by its rate")
    func allowance() {
        let rate = Allowance.Rate(burst: 3, perSecond: 2)
        let start = ContinuousClock.now
        var allowance = Allowance(at: start)
        for _ in 0..<3 {
            #expect(!allowance.isUsedUp(at: start, rate))
            allowance.take(at: start, rate)
        }
        #expect(allowance.isUsedUp(at: start, rate))
        #expect(allowance.isUsedUp(at: start + .milliseconds(499), rate))
        #expect(!allowance.isUsedUp(at: start + .milliseconds(501), rate))
        #expect(!allowance.isWhole(at: start + .milliseconds(1499)))
        #expect(allowance.isWhole(at: start + .milliseconds(1500)))
    }

    @Test("the table of addresses stays bounded, and forgets those who have their allowance back")
    func addresses() {
        var allowances = AddressAllowances(rate: .init(burst: 1, perSecond: 1))
        let start = ContinuousClock.now
        for index in 0..<UInt32(2 * AddressAllowances.addressesMax) { allowances.take(IPAddress(v4: index), at: start) }
        #expect(allowances.count == AddressAllowances.addressesMax)
        #expect(allowances.isUsedUp(IPAddress(v4: 0), at: start))
        allowances.take(first, at: start + .seconds(2))
        #expect(allowances.count == 1)
        #expect(allowances.isUsedUp(first, at: start + .seconds(2)))
    }

    // MARK: Memory

    @Test("who holds most is cut first, the largest holder before the others, until an eighth is free")
    func memory() {
        var memory = HeldMemory(max: 800)
        let holders = [("honest", 200), ("greedy", 100), ("greedy", 300), ("greedy", 100), ("small", 110)]
        for holder in holders { memory.change(by: holder.1) }
        #expect(memory.isOver)
        // 810 are to become 700: greedy has 500 in all, and its largest is enough.
        #expect(memory.victims(of: holders.map { (owner: $0.0, bytes: $0.1) }) == [2])
        memory.change(by: 100)
        // 910 - 300 = 610 is enough, too.
        #expect(memory.victims(of: holders.map { (owner: $0.0, bytes: $0.1) }) == [2])
        memory.change(by: 200)
        // 1110 - 300 leaves greedy with 200, as much as honest; after one of both nobody is above the bound.
        let victims = memory.victims(of: holders.map { (owner: $0.0, bytes: $0.1) })
        #expect(victims.first == 2 && Set(victims).isSubset(of: [0, 1, 2, 3]))
    }

    @Test("within the bound nobody is cut")
    func noVictims() {
        var memory = HeldMemory(max: 800)
        memory.change(by: 700)
        #expect(!memory.isOver)
        #expect(memory.victims(of: [(owner: "a", bytes: 700)]).isEmpty)
    }
}

extension SocketBudget {
    fileprivate func account(_ pod: String, _ peer: IPAddress?) -> Account { Account(pod: pod, peer: peer) }
}

@Suite("Which tunnel takes the next connection to a peer")
struct TunnelChoiceTests {
    private typealias Load = TunnelChoice.Load

    private var limits: DataplaneLimits {
        var limits = DataplaneLimits()
        (limits.tunnelsPerPeerMax, limits.bulkTunnelsPerPeerMax) = (4, 2)
        return limits
    }

    private func decide(_ loads: [Load]) -> TunnelChoice { TunnelChoice.decide(loads, limits: limits) }

    @Test("a new one when there is none")
    func none() {
        #expect(decide([]) == .dial)
        #expect(decide([Load(streams: 3, isUsable: false)]) == .dial)
    }

    @Test("the least loaded of those that are set up")
    func leastLoaded() {
        #expect(decide([Load(streams: 9), Load(streams: 2), Load(streams: 5)]) == .join(1))
        #expect(decide([Load(streams: 1, isDialling: true), Load(streams: 80)]) == .join(1))
        #expect(decide([Load(streams: 0, isUsable: false), Load(streams: 1, isDialling: true)]) == .join(1))
    }

    @Test("a new one beside a saturated one, up to the bound, and then the least loaded")
    func saturated() {
        let saturated = Load(streams: 1, isSaturated: true)
        #expect(decide([saturated]) == .dial)
        #expect(decide([saturated, Load(streams: 50)]) == .join(1))
        #expect(decide([saturated, Load(streams: 3, isDialling: true)]) == .join(1))
        #expect(decide([Load(streams: 2, isSaturated: true), saturated]) == .join(1))
    }

    @Test("none when all are full and there are as many as may be")
    func full() {
        let full = Load(streams: 100, isUsable: false)
        #expect(decide([full, full, full]) == .dial)
        #expect(decide([full, full, full, full]) == .wait)
        #expect(decide([full, full, full, Load(streams: 99)]) == .join(3))
        #expect(decide([full, full, full, Load(streams: 99, isSaturated: true)]) == .join(3))
    }
}
