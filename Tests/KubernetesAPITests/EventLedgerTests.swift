import FoundationEssentials
import Testing

@testable import KubernetesAPI

@Suite("Which Events are written")
struct EventLedgerTests {
    private static let start = ContinuousClock.now
    private static let date = Date(timeIntervalSince1970: 1_795_000_000)
    /// Each test has its own.
    private final class Book {
        var ledger = EventLedger(component: "culvert-agent", instance: "node-1")
    }
    private let book = Book()

    private static func pod(_ name: String) -> ObjectReference {
        ObjectReference(kind: "Pod", namespace: "shop", name: name, uid: "u-" + name)
    }

    private func record(
        _ pod: String, _ reason: String = "Failed", _ message: String = "m", at seconds: Double = 0
    ) -> EventLedger.Action? {
        book.ledger.record(
            .warning, reason, on: Self.pod(pod), message: message, now: Self.start + .seconds(seconds),
            date: Self.date, suffix: "s")
    }

    @Test("the first is made, what follows is counted on it")
    func counts() {
        guard case .create(let event) = record("a") else {
            Issue.record("made")
            return
        }
        #expect(event.key == ObjectKey(namespace: "shop", name: "a.s"))
        #expect(event.count == 1 && event.reason == "Failed" && event.component == "culvert-agent")
        #expect(
            record("a", "Failed", "again")
                == .patch(event.key, ["count": 2, "lastTimestamp": "2026-11-18T11:06:40Z", "message": "again"]))
        guard case .create = record("a", "Other"), case .create = record("b") else {
            Issue.record("another reason or object is another Event")
            return
        }
    }

    @Test("one object's Events are written so often at once, then one in five minutes, and none is lost from the count")
    func flood() {
        let written = (0..<1000).filter { _ in record("a") != nil }.count
        #expect(written == EventLedger.objectBurst)
        #expect(record("a", at: 299) == nil)
        guard case .patch(_, let changes) = record("a", at: 300) else {
            Issue.record("written again")
            return
        }
        #expect(changes["count"] == 1002)
        #expect(record("a", at: 301) == nil)
    }

    @Test("all objects together are bounded, and what was not told is counted")
    func floodOfObjects() {
        let written = (0..<500).filter { record("p\($0)") != nil }.count
        #expect(written == EventLedger.totalBurst)
        #expect(book.ledger.dropped == 500 - EventLedger.totalBurst)
        #expect(record("late", at: 0.2) != nil)
        #expect(record("later", at: 0.2) == nil)
    }

    @Test("an Event that the server may have forgotten is made anew")
    func expires() {
        _ = record("a")
        guard case .create = record("a", at: 3000) else {
            Issue.record("made anew")
            return
        }
        book.ledger.forget(ObjectKey(namespace: "shop", name: "a.s"))
        guard case .create = record("a", at: 3301) else {
            Issue.record("made anew")
            return
        }
    }

    @Test("a message is cut to what the server takes, between characters")
    func longMessage() {
        guard case .create(let event) = record("a", "Failed", String(repeating: "é", count: 2000)) else {
            Issue.record("made")
            return
        }
        #expect(event.message.utf8.count <= 1024 && event.message.hasSuffix("é…"))
    }

    @Test("memory is bounded however many objects there are")
    func bounded() {
        for number in 0..<20_000 {
            _ = record("p\(number)", at: Double(number))
        }
        let mirror = Mirror(reflecting: book.ledger).children.compactMap { $0.value as? any Collection }
        #expect(!mirror.isEmpty)
        #expect(mirror.allSatisfy { $0.count <= EventLedger.entriesMax + 1 })
    }
}
