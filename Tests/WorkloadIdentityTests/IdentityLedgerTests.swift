import FoundationEssentials
import SPIFFE
import SeededRandom
import Testing

@testable import WorkloadIdentity

@Suite struct IdentityLedgerTests {
    private let now = Date(timeIntervalSince1970: 1_000_000)
    private var ledger = IdentityLedger()

    private func id(_ name: String) throws -> SPIFFEID { try SPIFFEID("spiffe://td/ns/shop/sa/\(name)") }
    private func later(_ seconds: Double) -> Date { now.addingTimeInterval(seconds) }

    /// Lets `name` have a certificate of a thousand seconds, from `start`.
    private mutating func succeed(_ name: String, at start: Date) throws -> UInt64? {
        ledger.succeeded(try id(name), notBefore: start, notAfter: start.addingTimeInterval(1000), draw: 0.5)
    }

    @Test("an identity that two pods hold is asked for once, and kept until both are gone")
    mutating func shared() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        ledger.hold(podUID: "b", identity: try id("web"), now: now)
        ledger.hold(podUID: "b", identity: try id("web"), now: now)
        #expect(
            ledger.start(now: now) == [.init(identity: try id("web"), podUID: "a", isFirst: true, urgency: .firstUse)])
        #expect(ledger.start(now: now).isEmpty)
        #expect(try succeed("web", at: now) == 1)
        #expect(ledger.start(now: now).isEmpty)
        #expect(ledger.release(podUID: "a").isEmpty)
        #expect(ledger.release(podUID: "unknown").isEmpty)
        #expect(ledger.release(podUID: "b") == [try id("web")])
        #expect(ledger.statuses().isEmpty)
    }

    @Test("renewal is due at the drawn time, not before, and gets the next generation")
    mutating func renewal() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        _ = ledger.start(now: now)
        #expect(try succeed("web", at: now) == 1)
        #expect(ledger.nextDue() == later(525))
        #expect(ledger.start(now: later(524)).isEmpty)
        #expect(
            ledger.start(now: later(525)) == [
                .init(identity: try id("web"), podUID: "a", isFirst: false, urgency: .renewal)
            ])
        #expect(try succeed("web", at: later(525)) == 2)
        #expect(ledger.nextDue() == later(1050))
    }

    @Test("at most eight requests are under way; first use goes before renewal, and what ends first before the rest")
    mutating func priority() throws {
        for index in 0..<12 {
            ledger.hold(podUID: "old-\(index)", identity: try id("old-\(index)"), now: now)
        }
        for start in [0.0, 1] {
            for request in ledger.start(now: now) {
                _ = ledger.succeeded(
                    request.identity, notBefore: now, notAfter: later(1000 + start * 500), draw: 0)
            }
        }
        for index in 0..<3 { ledger.hold(podUID: "new-\(index)", identity: try id("new-\(index)"), now: later(900)) }
        let first = ledger.start(now: later(900))
        #expect(first.count == IdentityLedger.concurrencyMax)
        #expect(first.prefix(3).allSatisfy { $0.isFirst })
        #expect(first.dropFirst(3).allSatisfy { !$0.isFirst })
        #expect(ledger.nextDue() == nil)
        #expect(ledger.start(now: later(900)).isEmpty)
        let ends = ledger.statuses().filter(\.isRequesting).compactMap(\.schedule?.notAfter)
        #expect(ends.allSatisfy { $0 == later(1000) })
        _ = ledger.succeeded(first[0].identity, notBefore: later(900), notAfter: later(1900), draw: 0)
        #expect(ledger.start(now: later(900)).count == 1)
    }

    @Test("a failed renewal keeps what is held, backs off, and says so")
    mutating func failedRenewal() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        _ = ledger.start(now: now)
        _ = try succeed("web", at: now)
        var at = later(525)
        for bound in [1.0, 2, 4, 8] {
            let request = try #require(ledger.start(now: at).first)
            ledger.failed(request, IssuanceError(.unreachable, "connection refused"), now: at, draw: 1)
            #expect(ledger.nextDue() == at.addingTimeInterval(bound))
            at = at.addingTimeInterval(bound)
        }
        let status = try #require(ledger.statuses().first)
        #expect(status.isReady(now: at))
        #expect(status.generation == 1)
        #expect(
            status.description(now: at)
                == "spiffe://td/ns/shop/sa/web is valid for 460 s; renewal fails: connection refused, next attempt in 0 s"
        )
        #expect(!status.isReady(now: later(1000)))
        #expect(status.description(now: later(1000)).hasPrefix("identity spiffe://td/ns/shop/sa/web has expired"))
    }

    @Test("what a tainted authority signed is renewed at once, spread by the draw, and stays in use until then")
    mutating func tainted() throws {
        for (name, signers) in [("web", ["aa", "01"]), ("db", ["aa", "01"]), ("cache", ["bb", "02"])] {
            ledger.hold(podUID: name, identity: try id(name), now: now)
            _ = ledger.start(now: now)
            _ = ledger.succeeded(
                try id(name), notBefore: now, notAfter: later(1000), signers: signers, draw: 0.5)
        }
        var draws = [0.2, 0.8]
        ledger.taint(["01"], now: later(100)) { draws.removeLast() }
        #expect(draws.isEmpty)
        #expect(ledger.nextDue() == later(101))
        #expect(ledger.start(now: later(104)).count == 2)
        #expect(ledger.statuses().allSatisfy { $0.schedule?.notAfter == later(1000) })
        // Once it is known, it is not renewed again for it.
        ledger.taint(["01"], now: later(105)) { 0 }
        let names = try ["web", "db"].map(id)
        _ = ledger.succeeded(names[0], notBefore: later(105), notAfter: later(1105), signers: ["cc", "03"], draw: 0.5)
        // This one was signed before the taint, and came after it.
        _ = ledger.succeeded(names[1], notBefore: later(105), notAfter: later(1105), signers: ["aa", "01"], draw: 1)
        #expect(ledger.start(now: later(109)).isEmpty)
        #expect(ledger.start(now: later(110)).map(\.identity) == [names[1]])
    }

    @Test("a failed renewal after a taint is tried again in its own time")
    mutating func taintedAndFailed() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        _ = ledger.start(now: now)
        _ = ledger.succeeded(try id("web"), notBefore: now, notAfter: later(1000), signers: ["01"], draw: 0.5)
        ledger.taint(["01"], now: now) { 0 }
        let request = try #require(ledger.start(now: now).first)
        ledger.failed(request, IssuanceError(.unreachable, "connection refused"), now: now, draw: 1)
        #expect(ledger.nextDue() == later(1))
        #expect(ledger.statuses()[0].isReady(now: now))
    }

    @Test("a first identity that fails is waited for with a reason")
    mutating func waiting() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        let request = try #require(ledger.start(now: now).first)
        #expect(
            ledger.statuses()[0].description(now: now) == "waiting for identity spiffe://td/ns/shop/sa/web, asking now")
        ledger.failed(request, IssuanceError(.unreachable, "connection refused"), now: now, draw: 1)
        #expect(
            ledger.statuses()[0].description(now: now)
                == "waiting for identity spiffe://td/ns/shop/sa/web: connection refused, next attempt in 1 s")
    }

    @Test(
        "how long the authority asks to wait is respected, and spread by half",
        arguments: [(0.0, 20.0), (1.0, 30.0)])
    mutating func serverPacing(draw: Double, wait: Double) throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        let request = try #require(ledger.start(now: now).first)
        ledger.failed(request, IssuanceError(.retry(after: .seconds(20)), "busy"), now: now, draw: draw)
        #expect(ledger.nextDue() == later(wait))
    }

    @Test(
        "an authority that has too much to do is asked for nothing until the time it names, and then for first use first",
        arguments: [(0.0, 20.0), (1.0, 30.0)])
    mutating func slowDown(draw: Double, wait: Double) throws {
        ledger.hold(podUID: "a", identity: try id("held"), now: now)
        _ = ledger.start(now: now)
        _ = try succeed("held", at: later(-525))
        let renewal = try #require(ledger.start(now: now).first)
        ledger.hold(podUID: "b", identity: try id("new"), now: now)
        ledger.failed(renewal, IssuanceError(.slowDown(.seconds(20)), "busy"), now: now, draw: draw)
        #expect(ledger.start(now: later(wait - 1)).isEmpty)
        #expect(ledger.nextDue() == later(wait))
        #expect(ledger.start(now: later(wait)).map(\.identity) == [try id("new"), try id("held")])
    }

    @Test(
        "a pause without a time, or with an absurd one, is the client's own; and a clock that is set back does not prolong it"
    )
    mutating func pauseBounds() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        var request = try #require(ledger.start(now: now).first)
        ledger.failed(request, IssuanceError(.slowDown(nil), "busy"), now: now, draw: 1)
        #expect(ledger.nextDue() == later(1))
        request = try #require(ledger.start(now: later(1)).first)
        ledger.failed(request, IssuanceError(.slowDown(.seconds(1 << 40)), "busy"), now: later(1), draw: 1)
        #expect(ledger.nextDue() == later(451))
        #expect(!ledger.start(now: now).isEmpty)
    }

    @Test("a pod that is over is never named again; one that follows it is, at once")
    mutating func ended() throws {
        let over = IssuanceError(.ended, "pod has terminated")
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        _ = ledger.start(now: now)
        _ = try succeed("web", at: now)
        ledger.failed(try #require(ledger.start(now: later(525)).first), over, now: later(525), draw: 0)
        #expect(ledger.nextDue() == nil)
        #expect(ledger.start(now: later(100_000)).isEmpty)
        // What it holds is good to its end.
        #expect(ledger.statuses()[0].isReady(now: later(999)))
        ledger.hold(podUID: "b", identity: try id("web"), now: later(600))
        #expect(ledger.start(now: later(600)).map(\.podUID) == ["b"])
    }

    @Test("ten thousand identities that come due together are all asked for, each once")
    mutating func many() throws {
        for index in 0..<10_000 { ledger.hold(podUID: "p\(index)", identity: try id("s\(index)"), now: now) }
        var received = 0
        while true {
            let requests = ledger.start(now: now)
            guard !requests.isEmpty else { break }
            for request in requests {
                received += 1
                _ = ledger.succeeded(request.identity, notBefore: now, notAfter: later(1000), draw: 0.5)
            }
        }
        #expect(received == 10_000)
    }

    @Test("an authority that asks to wait for years is asked again within an hour and a half")
    mutating func absurdPacing() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        let request = try #require(ledger.start(now: now).first)
        ledger.failed(request, IssuanceError(.retry(after: .seconds(1 << 40)), "busy"), now: now, draw: 1)
        #expect(try #require(ledger.nextDue()) <= later(5400))
    }

    @Test("a denial for one pod is followed by asking for another that holds the identity; then by a long wait")
    mutating func denied() throws {
        let denial = IssuanceError(.denied, "pod has terminated")
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        ledger.hold(podUID: "b", identity: try id("web"), now: now)
        ledger.failed(try #require(ledger.start(now: now).first), denial, now: now, draw: 0)
        let second = try #require(ledger.start(now: later(0.5)).first)
        #expect(second.podUID == "b")
        ledger.failed(second, denial, now: later(0.5), draw: 0)
        #expect(ledger.nextDue() == later(75.5))
    }

    @Test("a new pod is asked for at once when the earlier one was denied")
    mutating func newPodAfterDenial() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        ledger.hold(podUID: "b", identity: try id("web"), now: now)
        ledger.failed(try #require(ledger.start(now: now).first), IssuanceError(.denied, "no"), now: now, draw: 0)
        _ = ledger.release(podUID: "b")
        ledger.hold(podUID: "c", identity: try id("web"), now: later(0.1))
        #expect(ledger.start(now: later(0.1)).count == 1)
    }

    @Test(
        "released while being asked for, the answer is dropped; held again, it is used, and never asked for twice at once"
    )
    mutating func releasedWhileRequesting() throws {
        ledger.hold(podUID: "a", identity: try id("web"), now: now)
        _ = ledger.start(now: now)
        #expect(ledger.release(podUID: "a") == [try id("web")])
        #expect(ledger.statuses().isEmpty)
        ledger.hold(podUID: "b", identity: try id("web"), now: now)
        #expect(ledger.start(now: now).isEmpty)
        #expect(try succeed("web", at: now) == 1)
        #expect(ledger.release(podUID: "b") == [try id("web")])
        ledger.hold(podUID: "c", identity: try id("api"), now: now)
        _ = ledger.start(now: now)
        _ = ledger.release(podUID: "c")
        #expect(try succeed("api", at: now) == nil)
        #expect(ledger.nextDue() == nil)
    }

    @Test("in any order of events: never two requests for one identity, never more than eight, nothing lost")
    mutating func anyOrder() throws {
        var generator = SeededGenerator(seed: 11)
        var underWay: [IdentityLedger.Request] = []
        var at = now
        for _ in 0..<5000 {
            at = at.addingTimeInterval(Double.random(in: 0...20, using: &generator))
            let pod = Int.random(in: 0..<30, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0: ledger.hold(podUID: "p\(pod)", identity: try id("s\(pod % 12)"), now: at)
            case 1: _ = ledger.release(podUID: "p\(pod)")
            case 2, 3:
                underWay += ledger.start(now: at)
                #expect(underWay.count <= IdentityLedger.concurrencyMax)
                #expect(Set(underWay.map(\.identity)).count == underWay.count)
            default:
                guard !underWay.isEmpty else { continue }
                let request = underWay.remove(at: Int.random(in: 0..<underWay.count, using: &generator))
                if Bool.random(using: &generator) {
                    _ = ledger.succeeded(
                        request.identity, notBefore: at, notAfter: at.addingTimeInterval(100), draw: 0.3)
                } else {
                    let kinds: [IssuanceError.Kind] = [
                        .unreachable, .denied, .retry(after: nil), .retry(after: .seconds(3)), .attestAgain,
                        .slowDown(nil), .slowDown(.seconds(3)),
                    ]
                    let kind = kinds[Int.random(in: 0..<kinds.count, using: &generator)]
                    ledger.failed(request, IssuanceError(kind, "no"), now: at, draw: 0.5)
                }
            }
        }
        // Once all answers are in, everything that is held comes due again.
        for request in underWay {
            ledger.failed(request, IssuanceError(.unreachable, "no"), now: at, draw: 0.5)
        }
        let held = ledger.statuses().count
        var started = 0
        for _ in 0..<held {
            for request in ledger.start(now: at.addingTimeInterval(10_000)) {
                started += 1
                _ = ledger.succeeded(
                    request.identity, notBefore: at.addingTimeInterval(10_000), notAfter: at.addingTimeInterval(99_999),
                    draw: 0)
            }
        }
        #expect(started == held)
    }
}
