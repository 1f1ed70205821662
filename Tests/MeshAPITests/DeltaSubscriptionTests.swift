import IPAddressing
import SeededRandom
import Testing

@testable import MeshAPI

/// A server and one client, without anything between them.
private struct Conversation {
    var server = DiscoveryState()
    var stream: UInt64
    let start = ContinuousClock.now
    var now = ContinuousClock.now
    let type: ResourceType

    init(_ type: ResourceType = .address) throws {
        self.type = type
        let opened = server.open()
        stream = try #require(opened)
    }

    /// Named by their first letter, their version by the second: `a1`. `a-` removes.
    mutating func publish(_ texts: String..., address: String? = nil) {
        let resources = texts.filter { !$0.hasSuffix("-") }.map { text in
            DiscoveryResource(
                name: String(text.prefix(1)), version: String(text.dropFirst()), body: [], type: type,
                addresses: address.flatMap { IPAddress($0) }.map { [$0] } ?? [])
        }
        server.publish(resources, removed: texts.filter { $0.hasSuffix("-") }.map { String($0.prefix(1)) }, since: now)
    }

    @discardableResult
    mutating func say(_ request: DeltaSubscription.Request) -> DeltaSubscription.Receipt {
        server.receive(type.url, request, from: stream, now: now)
    }

    /// `1: +a +b -c`, or nothing when there is nothing to say.
    mutating func hear(bytesMax: Int = 1 << 20) -> String? {
        guard let response = server.next(for: stream, bytesMax: bytesMax, now: now) else { return nil }
        let words =
            response.resources.map { "+" + $0.name + $0.version }.sorted() + response.removals.map { "-" + $0 }.sorted()
        return ([response.nonce + ":"] + words).joined(separator: " ")
    }

    /// Answers what it hears.
    mutating func follow() -> String? {
        guard let heard = hear() else { return nil }
        say(DeltaSubscription.Request(nonce: String(heard.prefix { $0 != ":" })))
        return heard
    }

    mutating func reconnect(_ request: DeltaSubscription.Request) throws {
        server.close(stream)
        let opened = server.open()
        stream = try #require(opened)
        say(request)
    }
}

@Suite("What a discovery client is told next")
struct DeltaSubscriptionTests {
    private typealias Request = DeltaSubscription.Request

    /// A client that has asked for everything.
    private func everything(_ texts: String...) throws -> Conversation {
        var conversation = try Conversation()
        for text in texts { conversation.publish(text) }
        #expect(conversation.say(Request()) == .subscribed)
        return conversation
    }

    @Test("nothing is sent before the first request")
    func unasked() throws {
        var conversation = try Conversation()
        conversation.publish("a1")
        #expect(conversation.hear() == nil)
    }

    @Test("a first request that names nothing, or *, asks for everything", arguments: [[], ["*"]])
    func wildcard(names: [String]) throws {
        var conversation = try Conversation()
        conversation.publish("b1", "a1")
        #expect(conversation.say(Request(subscribe: names)) == .subscribed)
        #expect(conversation.hear() == "1: +a1 +b1")
    }

    @Test("the first response comes even when there is nothing to say, and no second one")
    func emptyFirst() throws {
        var conversation = try everything()
        #expect(conversation.follow() == "1:")
        #expect(conversation.follow() == nil)
    }

    @Test("while a response is outstanding nothing is sent; then what changed, in one go and in its last state")
    func oneOutstanding() throws {
        var conversation = try everything("a1", "b1", "d1")
        #expect(conversation.hear() == "1: +a1 +b1 +d1")
        conversation.publish("a2", "c1")
        conversation.publish("b-", "d-", "x1")
        #expect(conversation.hear() == nil)
        conversation.publish("a3", "d2", "x-")
        #expect(conversation.say(Request(nonce: "1")) == .acknowledged(since: nil))
        #expect(conversation.follow() == "2: +a3 +c1 +d2 -b")
        #expect(conversation.follow() == nil)
    }

    @Test("what is published as it was is not sent")
    func unchanged() throws {
        var conversation = try everything("a1")
        _ = conversation.follow()
        conversation.publish("a1", "b-")
        #expect(conversation.hear() == nil)
    }

    @Test("an acknowledgement of an older response changes nothing")
    func stale() throws {
        var conversation = try everything("a1")
        _ = conversation.hear()
        #expect(conversation.say(Request(nonce: "0")) == .stale)
        conversation.publish("a2")
        #expect(conversation.hear() == nil)
    }

    @Test("an acknowledgement says since when its oldest part was known")
    func lag() throws {
        var conversation = try everything("a1")
        _ = conversation.follow()
        conversation.now += .milliseconds(10)
        conversation.publish("a2")
        let since = conversation.now
        conversation.now += .milliseconds(10)
        conversation.publish("b1")
        #expect(conversation.hear() == "2: +a2 +b1")
        #expect(conversation.say(Request(nonce: "2")) == .acknowledged(since: since))
    }

    @Test("what was refused is sent again when it changes, or after a while that grows, and nothing else is")
    func refused() throws {
        var conversation = try everything("a1", "b1")
        _ = conversation.hear()
        let delay = DeltaSubscription.retryDelay
        #expect(
            conversation.say(Request(nonce: "1", refusal: "\"a\": uid: is bad; and 3 more"))
                == .refused("\"a\": uid: is bad; and 3 more", retryAt: conversation.now + delay))
        #expect(conversation.hear() == nil)
        conversation.now += delay
        #expect(conversation.hear() == "2: +a1")
        #expect(
            conversation.say(Request(nonce: "2", refusal: "a: bad"))
                == .refused("a: bad", retryAt: conversation.now + delay * 2))
        conversation.now += delay
        #expect(conversation.hear() == nil)
        conversation.publish("a2")
        #expect(conversation.follow() == "3: +a2")
        conversation.now += .seconds(3600)
        #expect(conversation.hear() == nil)
    }

    @Test("a refusal that names nothing is about all that was sent; waits end at ten minutes")
    func refusedWholly() throws {
        var conversation = try everything("a1", "b1")
        for attempt in 1...8 {
            #expect(conversation.hear() == "\(attempt): +a1 +b1")
            guard case .refused(_, let retryAt) = conversation.say(Request(nonce: "\(attempt)", refusal: "no")) else {
                Issue.record("taken")
                return
            }
            #expect(retryAt - conversation.now <= DeltaSubscription.retryDelayMax)
            conversation.now = retryAt
        }
        conversation.publish("a-", "b-")
        #expect(conversation.follow() == "9: -a -b")
        #expect(conversation.hear() == nil)
    }

    @Test("a returning client is sent only what differs from the versions it holds, then what changes")
    func initialVersions() throws {
        var conversation = try Conversation()
        conversation.publish("a1", "b2", "d1")
        conversation.say(Request(initialVersions: ["a": "1", "b": "1", "c": "1"]))
        #expect(conversation.follow() == "1: +b2 +d1 -c")
        conversation.publish("a-")
        #expect(conversation.follow() == "2: -a")
    }

    @Test("versions after the first request end the stream")
    func lateVersions() throws {
        var conversation = try everything("a1")
        guard case .violation = conversation.say(Request(initialVersions: ["a": "1"])) else {
            Issue.record("accepted")
            return
        }
    }

    @Test("names are followed one by one, and a missing one is said to be missing")
    func names() throws {
        var conversation = try Conversation()
        conversation.publish("a1", "b1")
        conversation.say(Request(subscribe: ["a", "x"]))
        #expect(conversation.follow() == "1: +a1 -x")
        conversation.publish("b2")
        #expect(conversation.hear() == nil)
        conversation.publish("x1")
        #expect(conversation.follow() == "2: +x1")
        conversation.say(Request(unsubscribe: ["a"]))
        conversation.publish("a2")
        conversation.publish("a-")
        #expect(conversation.hear() == nil)
    }

    @Test("a client that returns with names follows them")
    func namesAgain() throws {
        var conversation = try Conversation()
        conversation.publish("a1", "b1", "c1")
        // As ztunnel does on demand: names of what it holds, without versions.
        conversation.say(
            Request(subscribe: ["*"], unsubscribe: ["*"], initialVersions: ["a": "", "/10.0.0.9": "", "z": ""]))
        #expect(conversation.follow() == "1: +a1 -z")
        conversation.publish("b2")
        #expect(conversation.hear() == nil)
        conversation.publish("d1", address: "10.0.0.9")
        #expect(conversation.follow() == "2: +d1")
    }

    @Test("a name that is asked for again is sent again")
    func askedAgain() throws {
        var conversation = try Conversation()
        conversation.publish("a1")
        conversation.say(Request(subscribe: ["a"]))
        #expect(conversation.follow() == "1: +a1")
        conversation.say(Request(subscribe: ["a"]))
        #expect(conversation.follow() == "2: +a1")
    }

    @Test("subscribing and unsubscribing * at once asks for nothing yet (on-demand)")
    func onDemand() throws {
        var conversation = try Conversation()
        conversation.publish("a1")
        conversation.say(Request(subscribe: ["*"], unsubscribe: ["*"]))
        #expect(conversation.follow() == "1:")
        conversation.say(Request(subscribe: ["a"]))
        #expect(conversation.follow() == "2: +a1")
    }

    @Test("an address is answered with what has it, under its own name, and always with its own end")
    func addresses() throws {
        var conversation = try Conversation()
        conversation.publish("a1", "b1", address: "10.0.0.1")
        conversation.publish("c1", address: "fd00::1")
        conversation.say(Request(subscribe: ["*"], unsubscribe: ["*"]))
        #expect(conversation.follow() == "1:")
        conversation.say(Request(subscribe: ["/10.0.0.1", "/10.0.0.2"]))
        #expect(conversation.follow() == "2: +a1 +b1 -/10.0.0.1 -/10.0.0.2")
        // It is followed from then on.
        conversation.publish("d1", address: "10.0.0.2")
        #expect(conversation.follow() == "3: +d1")
        conversation.publish("d2")
        conversation.publish("a-")
        #expect(conversation.follow() == "4: -a")
        conversation.say(Request(subscribe: ["/10.0.0.2", "/fd00::1"]))
        #expect(conversation.follow() == "5: +c1 -/10.0.0.2 -/fd00::1")
    }

    @Test("a client that has everything may ask for an address too, and is answered at once")
    func addressesOfAll() throws {
        var conversation = try everything("a1")
        _ = conversation.follow()
        conversation.publish("b1", address: "10.0.0.1")
        #expect(!conversation.server.isUrgent(conversation.stream))
        conversation.say(Request(subscribe: ["/10.0.0.1"]))
        #expect(conversation.server.isUrgent(conversation.stream))
        #expect(conversation.follow() == "2: +b1 -/10.0.0.1")
        #expect(!conversation.server.isUrgent(conversation.stream))
        conversation.publish("c1")
        #expect(conversation.follow() == "3: +c1")
    }

    @Test("names are bounded")
    func bound() throws {
        var conversation = try Conversation()
        let names = (0...DeltaSubscription.subscribedNamesMax).map(String.init)
        guard case .violation = conversation.say(Request(subscribe: names)) else {
            Issue.record("accepted")
            return
        }
    }

    @Test("a client that does not read costs the names of what changed, whatever happens how often")
    func slowReader() throws {
        var conversation = try everything("a1", "b1")
        _ = conversation.hear()
        for round in 0..<1000 {
            conversation.publish("a\(round + 2)", "c\(round)", "b-")
            conversation.publish("c-", "b\(round + 2)")
        }
        #expect(conversation.server.backlog == 2)
        conversation.say(Request(nonce: "1"))
        #expect(conversation.follow() == "2: +a1001 +b1001")
    }

    @Test("a response beyond the limit is split, and no resource is sent twice or left out")
    func split() throws {
        var conversation = try everything("a1", "b1", "c1", "d1", "e1")
        let size = DiscoveryResource(name: "a", version: "1", body: []).encoded.count
        var sent: [Substring] = []
        for nonce in 1...3 {
            let response = conversation.hear(bytesMax: size * 2)
            let heard = try #require(response)
            sent += heard.split(separator: " ").dropFirst()
            conversation.say(Request(nonce: "\(nonce)"))
        }
        #expect(sent.sorted() == ["+a1", "+b1", "+c1", "+d1", "+e1"])
        #expect(conversation.hear() == nil)
    }

    @Test("types are apart; policies come before what refers to them; other types end the stream")
    func types() throws {
        var conversation = try Conversation()
        conversation.publish("a1")
        conversation.say(Request())
        _ = conversation.server.receive(ResourceType.authorization.url, Request(), from: conversation.stream, now: .now)
        let first = conversation.server.next(for: conversation.stream, now: .now)
        #expect(first?.type == .authorization)
        #expect(first?.resources.map(\.name) == [StrictPolicy.name])
        let second = conversation.server.next(for: conversation.stream, now: .now)
        #expect(second?.resources.map(\.name) == ["a"])
        guard case .violation = conversation.server.receive("other", Request(), from: conversation.stream, now: .now)
        else {
            Issue.record("accepted")
            return
        }
    }

    @Test("each stream is told what it does not have, whatever the others have")
    func streams() throws {
        var conversation = try everything("a1")
        _ = conversation.follow()
        let first = conversation.stream
        let opened = conversation.server.open()
        conversation.stream = try #require(opened)
        conversation.publish("b1")
        conversation.say(Request())
        #expect(conversation.follow() == "1: +a1 +b1")
        conversation.stream = first
        #expect(conversation.follow() == "2: +b1")
        conversation.server.close(first)
        // Whoever comes next in its place holds nothing.
        try conversation.reconnect(Request())
        #expect(conversation.follow() == "1: +a1 +b1")
    }

    /// A client that follows the protocol ends up with what the server has, whatever happens in between.
    @Test("any sequence of changes, reconnects, refusals and lost streams converges", arguments: 1...20)
    func converges(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var published: [String: String] = [:]
        var held: [String: String] = [:]
        var conversation = try everything()
        func deliver(refusing isRefused: Bool = false) {
            guard let heard = conversation.hear() else { return }
            let words = heard.split(separator: " ")
            let nonce = String(words[0].dropLast())
            for word in words.dropFirst() {
                let name = String(word.dropFirst().prefix(1))
                held[name] =
                    word.hasPrefix("+") && !isRefused
                    ? String(word.dropFirst(2)) : word.hasPrefix("+") ? held[name] : nil
            }
            conversation.say(Request(nonce: nonce, refusal: isRefused ? "not now" : nil))
        }
        for _ in 0..<500 {
            let name = String("abcdefgh".randomElement(using: &generator) ?? "a")
            switch Int.random(in: 0..<12, using: &generator) {
            case 0..<4:
                let version = String(Int.random(in: 0..<3, using: &generator))
                published[name] = version
                conversation.publish(name + version)
            case 4..<6:
                published[name] = nil
                conversation.publish(name + "-")
            case 6: try conversation.reconnect(Request(initialVersions: held))
            case 7: conversation.now += .seconds(3600)
            case 8: deliver(refusing: true)
            default: deliver()
            }
        }
        conversation.now += .seconds(3600)
        deliver()
        deliver()
        #expect(held == published)
    }
}
