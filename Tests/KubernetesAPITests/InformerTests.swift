import Testing

@testable import KubernetesAPI

@Suite("Informers against servers that misbehave", .timeLimit(.minutes(2)))
struct InformerTests {
    typealias Step = ScriptedServer.Step

    private static func event(_ type: String, _ name: String, _ version: String, label: String = "") -> String {
        """
        {"type":"\(type)","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"\(name)","uid":"\(name)",\
        "resourceVersion":"\(version)","labels":{"l":"\(label)"}}}}\n
        """
    }

    private static let expired =
        #"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}"#
        + "\n"

    /// The informer's deliveries as words, until `count` of them have come.
    private static func deliveries(
        _ count: Int, script: @escaping ScriptedServer.Script
    ) async throws -> (told: [String], requests: [ScriptedServer.Request]) {
        try await deliveries(until: { $0.count == count }, script: script)
    }

    /// The changes one by one, however many come together, until one of them has come.
    private static func changes(until last: String, script: @escaping ScriptedServer.Script) async throws -> [String] {
        let (told, _) = try await deliveries(until: { $0.last?.hasSuffix(last) ?? false }, script: script)
        return told.dropFirst().flatMap { $0.split(separator: " ").map(String.init) }
    }

    private static func deliveries(
        until isDone: ([String]) -> Bool, script: @escaping ScriptedServer.Script
    ) async throws -> (told: [String], requests: [ScriptedServer.Request]) {
        try await ScriptedServer.serving(script) { server in
            let informer = Informer(
                Namespace.self, of: ClientTests.client(server) { $0.lineBytesMax = 1000 }, draw: { 0 },
                sleep: { _ in try Task.checkCancellation() })
            let (stream, feed) = AsyncStream.makeStream(of: String.self)
            let run = Task {
                await informer.run { event in
                    feed.yield(words(event))
                }
            }
            var told: [String] = []
            for await words in stream {
                told.append(words)
                if isDone(told) { break }
            }
            run.cancel()
            await run.value
            return (told, server.requests)
        }
    }

    private static func words(_ event: InformerEvent<Namespace>) -> String {
        switch event {
        case .synced(let all): "synced " + all.map(\.name).joined(separator: " ")
        case .changed(let changes):
            changes.map { change in
                switch change {
                case .added(let object): "+" + object.name
                case .modified(_, let object): "~" + object.name
                case .deleted(let object): "-" + object.name
                }
            }.joined(separator: " ")
        case .interrupted: "interrupted"
        case .resumed: "resumed"
        }
    }

    private static func isWatch(_ request: ScriptedServer.Request) -> Bool { request.query["watch"] == "true" }

    @Test("what happens during a watch is told; an ended watch goes on where it was")
    func watches() async throws {
        let (told, requests) = try await Self.deliveries(until: { $0.last?.hasSuffix("-b") ?? false }) {
            request, number in
            guard Self.isWatch(request) else { return Step.answer(200, ClientTests.namespaces(["a", "b"])) }
            switch number {
            case 1:
                return [
                    .watchHead, .chunk(Self.event("ADDED", "c", "11")),
                    .chunk(Self.event("MODIFIED", "a", "12", label: "x")),
                    .lastChunk,
                ]
            case 2: return [.watchHead, .chunk(Self.event("DELETED", "b", "13")), .silence]
            default: return [.silence]
            }
        }
        #expect(told.first == "synced a b")
        #expect(told.dropFirst().joined(separator: " ") == "+c ~a -b", "\(told)")
        #expect(requests.map { $0.query["resourceVersion"] } == [nil, "10", "12"])
        #expect(requests.dropFirst().allSatisfy { $0.query["allowWatchBookmarks"] == "true" })
        #expect(requests.dropFirst().allSatisfy { (300...600).contains(Int($0.query["timeoutSeconds"] ?? "") ?? 0) })
    }

    @Test("a server that forgot is listed from anew, and what was missed is told", arguments: [true, false])
    func gone(asEvent: Bool) async throws {
        let (told, requests) = try await Self.deliveries(2) { request, number in
            switch number {
            case 0: return Step.answer(200, ClientTests.namespaces(["a", "b"]))
            case 1:
                return asEvent
                    ? [.watchHead, .chunk(Self.expired), .silence]
                    : Step.answer(410, ClientTests.status(410, "Expired"))
            case 2: return Step.answer(200, ClientTests.namespaces(["b", "c"], version: "20"))
            default: return [.watchHead, .silence]
            }
        }
        #expect(told == ["synced a b", "-a +c"])
        #expect(requests.prefix(3).map(Self.isWatch) == [false, true, false])
    }

    @Test("a watch that breaks is taken up again from the last event", arguments: ["close", "reset", "half"])
    func breaks(how: String) async throws {
        let (told, requests) = try await Self.deliveries(5) { request, number in
            switch number {
            case 0: return Step.answer(200, ClientTests.namespaces(["a"]))
            case 1:
                let event = Step.chunk(Self.event("ADDED", "b", "11"))
                switch how {
                case "half": return [.watchHead, event, .chunk(#"{"type":"ADD"#), .lastChunk]
                case "close": return [.watchHead, event, .raw("100\r\n{\"type\""), .close]
                default: return [.watchHead, event, .reset]
                }
            default: return [.watchHead, .chunk(Self.event("DELETED", "a", "12")), .silence]
            }
        }
        // A reset may overtake the event before it, which then comes with the next watch.
        if how == "reset", told.count > 1, told[1] == "interrupted" {
            #expect(requests[2].query["resourceVersion"] == "10")
        } else {
            #expect(told == ["synced a", "+b", "interrupted", "resumed", "-a"])
            #expect(requests[2].query["resourceVersion"] == "11")
        }
        #expect(requests.dropFirst().allSatisfy(Self.isWatch))
    }

    @Test(
        "events that cannot be read are a reason to list anew",
        arguments: [
            "{\"type\":\n", "<html>\n", "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}}\n",
            String(repeating: "x", count: 2000),
        ])
    func garbage(text: String) async throws {
        let (told, requests) = try await Self.deliveries(4) { request, number in
            switch number {
            case 0: return Step.answer(200, ClientTests.namespaces(["a"]))
            case 1: return [.watchHead, .chunk(text), .silence]
            case 2: return Step.answer(200, ClientTests.namespaces(["b"], version: "20"))
            default: return [.watchHead, .silence]
            }
        }
        #expect(told == ["synced a", "interrupted", "-a +b", "resumed"])
        #expect(requests.prefix(4).map(Self.isWatch) == [false, true, false, true])
    }

    @Test("a server that refuses, hangs up or talks nonsense first is asked until it lists")
    func listFails() async throws {
        let (told, requests) = try await Self.deliveries(3) { request, number in
            switch number {
            case 0: return Step.answer(403, ClientTests.status(403, "Forbidden"))
            case 1: return Step.answer(200, "{}")
            case 2, 3: return [.reset]
            case 4: return Step.answer(500, "")
            case 5: return Step.answer(200, ClientTests.namespaces(["a"]))
            default: return [.watchHead, .silence]
            }
        }
        #expect(told == ["interrupted", "synced a", "resumed"])
        #expect(requests.count >= 6)
    }

    @Test("events come out the same in chunks of any size", arguments: [1, 2, 3, 7, 64, 1000])
    func splits(size: Int) async throws {
        let text =
            Self.event("ADDED", "b", "11") + Self.event("MODIFIED", "b", "12", label: "x")
            + Self.event("DELETED", "a", "13") + Self.event("ADDED", "last", "14")
        let pieces = stride(from: 0, to: text.count, by: size).map { start in
            String(text.dropFirst(start).prefix(size))
        }
        let told = try await Self.changes(until: "+last") { request, number in
            number == 0
                ? Step.answer(200, ClientTests.namespaces(["a"]))
                : [.watchHead] + pieces.map { Step.chunk($0) } + [.silence]
        }
        #expect(told == ["+b", "~b", "-a", "+last"])
    }
}
