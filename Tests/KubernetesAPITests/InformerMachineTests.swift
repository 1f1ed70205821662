import Testing

@testable import KubernetesAPI

@Suite("What an informer does next")
struct InformerMachineTests {
    typealias Machine = InformerMachine<Namespace>

    private static func namespace(_ name: String, _ version: String, uid: String? = nil, label: String? = nil)
        -> Namespace
    {
        Namespace(
            metadata: ObjectMeta(
                name: name, uid: uid ?? name, resourceVersion: version, labels: label.map { ["l": $0] } ?? [:]))
    }

    private static func list(_ version: String, _ items: Namespace...) -> ObjectList<Namespace> {
        ObjectList(items: items, resourceVersion: version)
    }

    private static func listed() -> Machine {
        var machine = Machine()
        _ = machine.listed(list("10", namespace("a", "3"), namespace("b", "7")), draw: 0)
        return machine
    }

    private static let expired = KubernetesError.refused(.init(code: 410, reason: .expired, message: ""))

    @Test("the first list is delivered whole, and watched from")
    func firstList() {
        var machine = Machine()
        let items = [Self.namespace("a", "3"), Self.namespace("b", "7")]
        let action = machine.listed(ObjectList(items: items, resourceVersion: "10"), draw: 0)
        #expect(action == .init(deliveries: [.synced(items)], next: .watch(after: "10")))
        var empty = Machine()
        #expect(empty.listed(Self.list("1"), draw: 0).deliveries == [.synced([])])
    }

    @Test("events change what is known, in order")
    func events() {
        var machine = Self.listed()
        let added = Self.namespace("c", "11")
        let modified = Self.namespace("a", "12", label: "x")
        let deleted = Self.namespace("b", "13")
        let received = machine.received([.added(added), .modified(modified), .deleted(deleted)])
        #expect(
            received
                == .init(deliveries: [
                    .changed([
                        .added(added), .modified(old: Self.namespace("a", "3"), new: modified), .deleted(deleted),
                    ])
                ]))
        #expect(machine.cache.resourceVersion == "13")
        #expect(machine.cache.objects.keys.map(\.name).sorted() == ["a", "c"])
    }

    @Test("repetitions and what comes late change nothing", arguments: ["1", "9", "10"])
    func repetitions(version: String) {
        var machine = Self.listed()
        let old = Self.namespace("a", version, label: "x")
        #expect(machine.received([.added(old), .modified(old), .deleted(old)]).deliveries.isEmpty)
        #expect(machine.cache.objects.count == 2)
        #expect(machine.cache.resourceVersion == "10")
    }

    @Test("a version with more digits is later")
    func digits() {
        var machine = Self.listed()
        #expect(!machine.received([.deleted(Self.namespace("a", "100"))]).deliveries.isEmpty)
        #expect(machine.received([.deleted(Self.namespace("b", "99"))]).deliveries.isEmpty)
    }

    @Test("a change in what is not decoded is none, but counts as seen")
    func unseenChange() {
        var machine = Self.listed()
        #expect(machine.received([.modified(Self.namespace("a", "12"))]).deliveries.isEmpty)
        #expect(machine.cache.resourceVersion == "12")
    }

    @Test("a bookmark moves the watch on, and never back")
    func bookmarks() {
        var machine = Self.listed()
        #expect(machine.received([.bookmark(resourceVersion: "40"), .bookmark(resourceVersion: "20")]) == .init())
        #expect(machine.watchEnded(nil, lasted: .seconds(400), draw: 0) == .init(next: .watch(after: "40")))
    }

    @Test("a name used again is a deletion and an addition, watched or listed")
    func nameUsedAgain() {
        let old = Self.namespace("a", "3")
        let new = Self.namespace("a", "11", uid: "other")
        var machine = Self.listed()
        #expect(machine.received([.added(new)]).deliveries == [.changed([.deleted(old), .added(new)])])
        var relisted = Self.listed()
        let action = relisted.listed(Self.list("12", Self.namespace("b", "7"), new), draw: 0)
        #expect(action.deliveries == [.changed([.deleted(old), .added(new)])])
        #expect(machine.received([.deleted(Self.namespace("a", "13"))]).deliveries.isEmpty, "that one is gone already")
    }

    @Test("a relist delivers what a gap has hidden, deletions first, and nothing that is as it was")
    func relist() {
        var machine = Self.listed()
        let changed = Self.namespace("a", "15", label: "x")
        let added = Self.namespace("c", "16")
        let action = machine.listed(Self.list("20", changed, added), draw: 0)
        #expect(
            action.deliveries == [
                .changed([
                    .deleted(Self.namespace("b", "7")), .modified(old: Self.namespace("a", "3"), new: changed),
                    .added(added),
                ])
            ])
        #expect(machine.listed(Self.list("21", changed, added), draw: 0).deliveries.isEmpty)
    }

    @Test("an older list is not believed until the server insists")
    func olderList() {
        var machine = Self.listed()
        let old = Self.list("9", Self.namespace("a", "3"))
        for _ in 0..<Machine.olderListsMax {
            let action = machine.listed(old, draw: 0)
            #expect(action.next == .list)
            #expect(action.deliveries.isEmpty && action.wait != nil)
        }
        let action = machine.listed(old, draw: 0)
        #expect(action.deliveries == [.changed([.deleted(Self.namespace("b", "7"))])])
        #expect(action.next == .watch(after: "9"))
    }

    @Test(
        "a server that forgot is listed from anew at once, as answer and as event, and with a wait when it goes on so")
    func gone() {
        var machine = Self.listed()
        #expect(machine.watchEnded(Self.expired, lasted: .zero, draw: 0) == .init(next: .list))
        _ = machine.listed(Self.list("30"), draw: 0)
        #expect(machine.watchEnded(Self.expired, lasted: .zero, draw: 0).wait != nil)

        var other = Self.listed()
        let received = other.received([
            .added(Self.namespace("c", "11")), .error(.init(code: 410, reason: .expired, message: "")),
            .added(Self.namespace("d", "12")),
        ])
        #expect(received.deliveries == [.changed([.added(Self.namespace("c", "11"))])])
        #expect(received.end == Self.expired)
    }

    @Test(
        "each failure of a watch says where to go on",
        arguments: [
            (KubernetesError.unreachable("x"), true), (.timedOut, true), (.unusable("x"), false),
            (.refused(.init(code: 429, reason: .tooManyRequests, message: "")), true),
            (.refused(.init(code: 403, reason: .forbidden, message: "")), false),
            (.refused(.init(code: 500, reason: .unavailable, message: "")), false),
        ])
    func failures(error: KubernetesError, watches: Bool) {
        var machine = Self.listed()
        let action = machine.watchEnded(error, lasted: .zero, draw: 0)
        #expect(action.next == (watches ? .watch(after: "10") : .list))
        #expect(action.deliveries == [.interrupted("\(error)")])
        #expect(action.wait == Backoff.delayMin)
        #expect(machine.listFailed(error, draw: 0).deliveries.isEmpty, "said once")
        #expect(machine.watchOpened() == [.resumed])
        #expect(machine.watchOpened() == [])
    }

    @Test(
        "a watch that ends in good order is taken up again, and with a wait only where it has brought nothing at once")
    func ends() {
        var machine = Self.listed()
        _ = machine.watchOpened()
        #expect(machine.watchEnded(nil, lasted: .milliseconds(10), draw: 0).wait == Backoff.delayMin)
        #expect(machine.watchEnded(nil, lasted: .milliseconds(10), draw: 0).wait == Backoff.delayMin * 2)
        #expect(machine.watchEnded(nil, lasted: .seconds(2), draw: 0).wait == nil)
        _ = machine.watchOpened()
        _ = machine.received([.bookmark(resourceVersion: "11")])
        #expect(machine.watchEnded(nil, lasted: .milliseconds(10), draw: 0) == .init(next: .watch(after: "11")))
    }

    @Test("waits double up to their bound, spread at random, and are what the server asks for")
    func backoff() {
        var backoff = Backoff()
        let waits = (0..<8).map { _ in backoff.next(draw: 0) }
        #expect(waits == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30].map { .milliseconds(Int64(($0 * 1000).rounded())) })
        #expect(backoff.next(draw: 0.5) == .seconds(45))
        backoff.reset()
        #expect(backoff.next(draw: 0, atLeast: .seconds(7)) == .seconds(7))
        var machine = Self.listed()
        let refusal = KubernetesError.Refusal(
            code: 429, reason: .tooManyRequests, message: "", retryAfter: .seconds(9))
        #expect(machine.watchEnded(.refused(refusal), lasted: .zero, draw: 0).wait == .seconds(9))
    }

    @Test("versions that are no numbers are taken as they come")
    func opaqueVersions() {
        #expect(!ResourceVersion.isNotAfter("a", "b"))
        #expect(!ResourceVersion.isNotAfter("01", "2"))
        #expect(ResourceVersion.isNotAfter("2", "2"))
        #expect(ResourceVersion.isNotAfter("99999999999999999999", "100000000000000000000"))
        #expect(!ResourceVersion.isNotAfter("100000000000000000000", "99999999999999999999"))
    }
}
