import IPAddressing
import Testing

@testable import Dataplane

@Suite("Destinations that the mesh does not know")
struct UnknownDestinationTests {
    private let start = ContinuousClock.now
    private let address = IPAddress(v4: 0x0a00_0001)

    @Test("one question at a time is asked, and its answer holds for a while")
    func answer() {
        var unknown = UnknownDestinations()
        #expect(unknown.look(at: address, now: start) == .ask)
        #expect(unknown.look(at: address, now: start) == .wait)
        unknown.answered(address, obstacle: nil, now: start)
        #expect(unknown.look(at: address, now: start) == .outside)
        #expect(unknown.look(at: address, now: start + UnknownDestinations.freshness) == .ask)
    }

    @Test("who cannot be asked about a destination that was never plaintext, refuses it, and asks again soon")
    func obstacle() {
        var unknown = UnknownDestinations()
        _ = unknown.look(at: address, now: start)
        unknown.answered(address, obstacle: "no agent", now: start)
        #expect(unknown.look(at: address, now: start) == .unavailable("no agent"))
        #expect(unknown.look(at: address, now: start + UnknownDestinations.patience) == .ask)
    }

    @Test("what was plaintext before stays so while nobody can be asked, but not for ever")
    func stale() {
        var unknown = UnknownDestinations()
        _ = unknown.look(at: address, now: start)
        unknown.answered(address, obstacle: nil, now: start)
        for (later, verdict) in [
            (Duration.seconds(60), UnknownDestinations.Verdict.outside), (.seconds(599), .outside),
            (.seconds(600), .unavailable("no agent")),
        ] {
            #expect(unknown.look(at: address, now: start + later) == .ask)
            unknown.answered(address, obstacle: "no agent", now: start + later)
            #expect(unknown.look(at: address, now: start + later) == verdict, "\(later)")
        }
    }

    @Test("questions and findings are bounded")
    func bounds() {
        var unknown = UnknownDestinations()
        for number in 0..<UInt32(UnknownDestinations.questionsMax) {
            #expect(unknown.look(at: IPAddress(v4: number), now: start) == .ask)
        }
        guard case .unavailable = unknown.look(at: IPAddress(v4: .max), now: start) else {
            Issue.record("one more")
            return
        }
        for number in 0..<UInt32(UnknownDestinations.rememberedMax * 3) {
            unknown.answered(IPAddress(v4: number), obstacle: nil, now: start + .milliseconds(Int(number)))
            #expect(unknown.rememberedCount <= UnknownDestinations.rememberedMax)
        }
        // The newest are kept.
        let last = UInt32(UnknownDestinations.rememberedMax * 3 - 1)
        #expect(unknown.look(at: IPAddress(v4: last), now: start + .milliseconds(Int(last))) == .outside)
    }
}
