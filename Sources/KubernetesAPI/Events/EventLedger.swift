import FoundationEssentials

/// Which events are written, and which are only counted: a pod that fails a thousand times a minute is one Event with a count.
///
/// One Event object per thing and reason. Its count goes up with every occurrence, but it is written again only as often as the
/// thing's allowance (and everybody's together) lets it be; what was held back is in the next count.
struct EventLedger: Sendable {
    /// As client-go's spam filter: so many at once, then one per five minutes, per object.
    static let objectBurst = 25
    static let objectInterval: Duration = .seconds(300)
    /// For all objects together.
    static let totalBurst = 50
    static let totalInterval: Duration = .milliseconds(200)
    static let entriesMax = 4096
    /// After this, the server has forgotten the Event (its default), or soon will: a new one is made.
    static let lifetime: Duration = .seconds(3000)
    static let messageBytesMax = 1024

    enum Action: Equatable {
        case create(Event)
        /// The fields that have changed, for the Event of this name.
        case patch(ObjectKey, JSONValue)
    }

    private struct Subject: Hashable {
        let reference: ObjectReference
        let reason: String
    }

    private struct Entry {
        var event: Event
        var created: ContinuousClock.Instant
        var lastUsed: ContinuousClock.Instant
    }

    private let component: String
    private let instance: String
    private var entries: [Subject: Entry] = [:]
    private var objects: [ObjectReference: Allowance] = [:]
    private var total: Allowance?
    /// Occurrences that no Event tells of.
    private(set) var dropped = 0

    init(component: String, instance: String) {
        self.component = component
        self.instance = instance
    }

    /// `suffix` makes a new Event's name unique.
    mutating func record(
        _ severity: Event.Severity, _ reason: String, on reference: ObjectReference, message: String,
        now: ContinuousClock.Instant, date: Date, suffix: String
    ) -> Action? {
        let subject = Subject(reference: reference, reason: reason)
        let time = Timestamp(seconds: date)
        let message = Self.cut(message)
        if var entry = entries[subject], now - entry.created < Self.lifetime {
            entry.event.count += 1
            entry.event.lastTimestamp = time
            entry.event.message = message
            entry.lastUsed = now
            entries[subject] = entry
            guard allows(reference, now) else { return nil }
            return .patch(
                entry.event.key,
                [
                    "count": .integer(entry.event.count), "lastTimestamp": .string(time.text),
                    "message": .string(message),
                ])
        }
        guard allows(reference, now) else {
            dropped += 1
            return nil
        }
        var event = Event()
        event.metadata.name = "\(reference.name).\(suffix)"
        event.metadata.namespace = reference.namespace.isEmpty ? "default" : reference.namespace
        event.involvedObject = reference
        event.severity = severity
        event.reason = reason
        event.message = message
        event.firstTimestamp = time
        event.lastTimestamp = time
        event.component = component
        event.instance = instance
        makeRoom()
        entries[subject] = Entry(event: event, created: now, lastUsed: now)
        return .create(event)
    }

    /// The Event is not there: somebody has deleted it, or the server has. The next occurrence makes a new one.
    mutating func forget(_ key: ObjectKey) {
        guard let subject = entries.first(where: { $0.value.event.key == key })?.key else { return }
        entries[subject] = nil
    }

    private mutating func allows(_ reference: ObjectReference, _ now: ContinuousClock.Instant) -> Bool {
        if objects.count >= Self.entriesMax {
            objects = objects.filter { !$0.value.isFull(at: now) }
            // What all together may do still holds.
            if objects.count >= Self.entriesMax { objects = [:] }
        }
        var object = objects[reference] ?? Allowance(burst: Self.objectBurst, interval: Self.objectInterval, now: now)
        var total = total ?? Allowance(burst: Self.totalBurst, interval: Self.totalInterval, now: now)
        guard object.has(at: now), total.has(at: now) else {
            objects[reference] = object
            return false
        }
        object.take(at: now)
        total.take(at: now)
        objects[reference] = object
        self.total = total
        return true
    }

    private mutating func makeRoom() {
        guard entries.count >= Self.entriesMax else { return }
        // A quarter at once, so that this is not done every time.
        for (subject, _) in entries.sorted(by: { $0.value.lastUsed < $1.value.lastUsed }).prefix(Self.entriesMax / 4) {
            entries[subject] = nil
        }
    }

    private static func cut(_ message: String) -> String {
        guard message.utf8.count > messageBytesMax else { return message }
        var cut = message
        while cut.utf8.count > messageBytesMax - 3 { cut.removeLast() }
        return cut + "…"
    }
}

/// A number of turns that comes back with time.
struct Allowance: Sendable {
    private let burst: Int
    private let interval: Duration
    /// When the next turn that has been taken in advance will have come back.
    private var paid: ContinuousClock.Instant

    init(burst: Int, interval: Duration, now: ContinuousClock.Instant) {
        self.burst = burst
        self.interval = interval
        paid = now
    }

    func has(at now: ContinuousClock.Instant) -> Bool { max(paid, now) + interval <= now + interval * burst }

    func isFull(at now: ContinuousClock.Instant) -> Bool { paid <= now }

    mutating func take(at now: ContinuousClock.Instant) { paid = max(paid, now) + interval }
}
