import FoundationEssentials
import SeededRandom
import SwiftProtobuf
import Testing

@testable import MeshAPI

@Suite("What a discovery client is told next")
struct DeltaSubscriptionTests {
    private typealias Request = DeltaSubscription.Request
    private typealias Response = DeltaSubscription.Response

    /// Resources named by their first letter, their version by the second: `a1`.
    private func resources(_ names: String...) -> [String: DiscoveryResource] {
        Dictionary(
            uniqueKeysWithValues: names.map { text in
                let name = String(text.prefix(1))
                return (name, DiscoveryResource(name: name, version: String(text.dropFirst()), body: Data()))
            })
    }

    private func wildcard() -> DeltaSubscription {
        var subscription = DeltaSubscription()
        #expect(subscription.receive(Request()) == .subscribed)
        return subscription
    }

    @Test("nothing is sent before the first request")
    func unasked() {
        var subscription = DeltaSubscription()
        #expect(subscription.next(from: resources("a1")) == nil)
    }

    @Test("a first request that names nothing, or *, asks for everything", arguments: [[], ["*"]])
    func everything(names: [String]) {
        var subscription = DeltaSubscription()
        #expect(subscription.receive(Request(subscribe: names)) == .subscribed)
        #expect(
            subscription.next(from: resources("b1", "a1")) == Response(nonce: "1", upserts: ["a", "b"], removals: []))
    }

    @Test("the first response comes even when there is nothing to say, and no second one")
    func emptyFirst() {
        var subscription = wildcard()
        #expect(subscription.next(from: [:]) == Response(nonce: "1", upserts: [], removals: []))
        #expect(subscription.receive(Request(nonce: "1")) == .acknowledged)
        #expect(subscription.next(from: [:]) == nil)
    }

    @Test("while a response is outstanding nothing is sent; then what changed, in one go")
    func oneOutstanding() {
        var subscription = wildcard()
        _ = subscription.next(from: resources("a1", "b1"))
        #expect(subscription.next(from: resources("a2", "b1", "c1")) == nil)
        #expect(subscription.receive(Request(nonce: "1")) == .acknowledged)
        #expect(
            subscription.next(from: resources("a3", "c1"))
                == Response(nonce: "2", upserts: ["a", "c"], removals: ["b"]))
    }

    @Test("an acknowledgement of an older response changes nothing")
    func stale() {
        var subscription = wildcard()
        _ = subscription.next(from: resources("a1"))
        #expect(subscription.receive(Request(nonce: "0")) == .stale)
        #expect(subscription.next(from: resources("a2")) == nil)
    }

    @Test("what was refused is not sent again until it changes")
    func refused() {
        var subscription = wildcard()
        _ = subscription.next(from: resources("a1"))
        #expect(subscription.receive(Request(nonce: "1", refusal: "bad a")) == .refused("bad a"))
        #expect(subscription.next(from: resources("a1")) == nil)
        #expect(subscription.next(from: resources("a2")) == Response(nonce: "2", upserts: ["a"], removals: []))
    }

    @Test("a returning client is sent only what differs from the versions it holds")
    func initialVersions() {
        var subscription = DeltaSubscription()
        #expect(subscription.receive(Request(initialVersions: ["a": "1", "b": "1", "c": "1"])) == .subscribed)
        #expect(
            subscription.next(from: resources("a1", "b2", "d1"))
                == Response(nonce: "1", upserts: ["b", "d"], removals: ["c"]))
    }

    @Test("versions after the first request end the stream")
    func lateVersions() {
        var subscription = wildcard()
        guard case .violation = subscription.receive(Request(initialVersions: ["a": "1"])) else {
            Issue.record("accepted")
            return
        }
    }

    @Test("names are followed one by one, and a missing one is said to be missing")
    func names() {
        var subscription = DeltaSubscription()
        _ = subscription.receive(Request(subscribe: ["a", "x"]))
        #expect(
            subscription.next(from: resources("a1", "b1")) == Response(nonce: "1", upserts: ["a"], removals: ["x"]))
        _ = subscription.receive(Request(nonce: "1"))
        #expect(subscription.next(from: resources("a1", "b2")) == nil)
        #expect(
            subscription.next(from: resources("a1", "x1")) == Response(nonce: "2", upserts: ["x"], removals: []))
        _ = subscription.receive(Request(unsubscribe: ["a"], nonce: "2"))
        #expect(subscription.next(from: resources("a2", "x1")) == nil)
    }

    @Test("a name that is asked for again is sent again")
    func askedAgain() {
        var subscription = DeltaSubscription()
        _ = subscription.receive(Request(subscribe: ["a"]))
        _ = subscription.next(from: resources("a1"))
        _ = subscription.receive(Request(nonce: "1"))
        _ = subscription.receive(Request(subscribe: ["a"]))
        #expect(subscription.next(from: resources("a1")) == Response(nonce: "2", upserts: ["a"], removals: []))
    }

    @Test("subscribing and unsubscribing * at once asks for nothing yet (on-demand)")
    func onDemand() {
        var subscription = DeltaSubscription()
        _ = subscription.receive(Request(subscribe: ["*"], unsubscribe: ["*"]))
        #expect(subscription.next(from: resources("a1")) == Response(nonce: "1", upserts: [], removals: []))
        _ = subscription.receive(Request(subscribe: ["a"], nonce: "1"))
        #expect(subscription.next(from: resources("a1")) == Response(nonce: "2", upserts: ["a"], removals: []))
    }

    @Test("names are bounded")
    func bound() {
        var subscription = DeltaSubscription()
        let names = (0...DeltaSubscription.subscribedNamesMax).map(String.init)
        guard case .violation = subscription.receive(Request(subscribe: names)) else {
            Issue.record("accepted")
            return
        }
    }

    @Test("types are apart, policies are answered with nothing, other types end the stream")
    func types() {
        var stream = DiscoveryStream()
        let resources: DiscoveryStream.Resources = [ResourceType.address: resources("a1")]
        #expect(stream.receive(.with { $0.typeURL = ResourceType.authorization }) == .subscribed)
        let first = stream.next(from: resources)
        #expect(first?.typeURL == ResourceType.authorization)
        #expect(first?.resources.isEmpty == true)
        #expect(stream.receive(.with { $0.typeURL = ResourceType.address }) == .subscribed)
        #expect(stream.next(from: resources)?.resources.map(\.name) == ["a"])
        #expect(stream.next(from: resources) == nil)
        guard case .violation = stream.receive(.with { $0.typeURL = "type.googleapis.com/other" }) else {
            Issue.record("accepted")
            return
        }
    }

    /// A client that follows the protocol ends up with what the server has, whatever happens in between.
    @Test("any sequence of changes, reconnects and lost streams converges", arguments: 1...20)
    func converges(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var published: [String: DiscoveryResource] = [:]
        var held: [String: String] = [:]
        var subscription = DeltaSubscription()
        _ = subscription.receive(Request())
        for _ in 0..<500 {
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<4:
                let name = String(Int.random(in: 0..<8, using: &generator))
                let version = String(Int.random(in: 0..<3, using: &generator))
                published[name] = DiscoveryResource(name: name, version: version, body: Data())
            case 4..<6: published[String(Int.random(in: 0..<8, using: &generator))] = nil
            case 6:
                subscription = DeltaSubscription()
                _ = subscription.receive(Request(initialVersions: held))
            default: deliver(&subscription, published, &held)
            }
        }
        deliver(&subscription, published, &held)
        #expect(held == published.mapValues(\.version))
    }

    private func deliver(
        _ subscription: inout DeltaSubscription, _ published: [String: DiscoveryResource],
        _ held: inout [String: String]
    ) {
        guard let response = subscription.next(from: published) else { return }
        for name in response.removals { held[name] = nil }
        for name in response.upserts { held[name] = published[name]?.version }
        #expect(subscription.receive(Request(nonce: response.nonce)) == .acknowledged)
    }
}
