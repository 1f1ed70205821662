internal import Hummingbird
internal import NIOCore

/// One watch: the changes of a selection from a version on, each as one line, until its time is up, its client goes, or its place
/// in the history is forgotten.
struct Watching: Sendable {
    let resource: Resource
    let selection: Selection
    let representation: Representation
    let wantsBookmarks: Bool
    let timeout: Duration
    let storage: Storage
    let clock: Clock
    /// Changes up to here have been told.
    private var position: Int
    /// What is there at the beginning, told as additions.
    private let initial: [StoredObject]
    /// The initial objects are followed by a bookmark that says so.
    private let marksInitialEnd: Bool
    private var nudges: WatchNudges

    /// Refuses what cannot begin: a version that is too old is 410 at once.
    init(
        _ resource: Resource, _ info: RequestInfo, _ representation: Representation, _ storage: Storage, clock: Clock
    ) throws {
        self.resource = resource
        self.representation = representation
        self.storage = storage
        self.clock = clock
        selection = try Selection(info, resource)
        wantsBookmarks = info.flag("allowWatchBookmarks")
        let seconds = info.query["timeoutSeconds"].flatMap(Int.init) ?? 0
        // The real server's minimum is half an hour, up to twice that by chance.
        timeout = .seconds(seconds > 0 ? seconds : Int.random(in: 1800...3600))
        let asked = try Listing.version(info)
        let wantsInitial = info.query["sendInitialEvents"].map { _ in info.flag("sendInitialEvents") }
        if wantsInitial != nil, info.query["resourceVersionMatch"] != "NotOlderThan" {
            throw Refusal.invalid(
                Resource("", "ListOptions", group: "meta.k8s.io"), "",
                [
                    .forbidden(
                        "resourceVersionMatch",
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
                ])
        }
        if wantsInitial == true, !wantsBookmarks {
            throw Refusal.invalid(
                Resource("", "ListOptions", group: "meta.k8s.io"), "",
                [.forbidden("sendInitialEvents", "sendInitialEvents requires setting allowWatchBookmarks to true")])
        }
        marksInitialEnd = wantsInitial == true
        let sendsInitial = wantsInitial ?? (asked ?? 0 == 0)
        let selection = self.selection
        (position, initial, nudges) = try storage.read { state in
            if sendsInitial {
                guard (asked ?? 0) <= state.revision else {
                    throw Refusal.tooLargeResourceVersion(asked ?? 0, current: state.revision)
                }
                let collection = state[resource]
                let objects = collection.keys(in: selection.namespace).compactMap { collection[$0] }
                return (state.revision, objects.filter(selection.includes), state.nudges)
            }
            guard let asked, asked > 0 else { return (state.revision, [], state.nudges) }
            guard asked >= state[resource].compactedThrough else {
                throw Refusal.expired("too old resource version: \(asked) (\(state[resource].compactedThrough + 1))")
            }
            return (asked, [], state.nudges)
        }
    }

    /// Why a watch ends without an error of its own.
    private enum Ending: Error { case cut }

    /// Writes until the watch ends. Throws to have the connection cut off.
    mutating func run(
        _ writer: inout any ResponseBodyWriter, _ signals: AsyncStream<Void>, wake: AsyncStream<Void>.Continuation
    ) async throws {
        var hasColumns = false
        for object in initial {
            try await writer.write(line("ADDED", object, withColumns: !hasColumns))
            hasColumns = true
        }
        if marksInitialEnd { try await writer.write(bookmark(endsInitial: true)) }
        let deadline = ContinuousClock.now + timeout
        let timer = Task { [timeout] in
            try await Task.sleep(for: timeout)
            wake.yield()
        }
        defer { timer.cancel() }
        for await _ in signals {
            let (changes, revision, now) = storage.read { state in
                // A part of the history itself would be held while others are added to it, which then copies all of it.
                (state[resource].changes(after: position).map(Array.init), state.revision, state.nudges)
            }
            if now.cut != nudges.cut {
                try await writer.write(ByteBuffer(string: "{\"type\":\"MODIFIED\",\"object\":{\"kind\":"))
                throw Ending.cut
            }
            guard let changes else {
                let status = Refusal.expired("too old resource version: \(position) (\(revision))").status
                let event: JSON = ["type": "ERROR", "object": status]
                try await writer.write(ByteBuffer(bytes: event.bytes + [0x0A]))
                return
            }
            for change in changes {
                if let (kind, object) = visible(change) {
                    try await writer.write(line(kind, object, withColumns: !hasColumns))
                    hasColumns = true
                }
                position = change.object.resourceVersion
            }
            let isOver = ContinuousClock.now >= deadline
            if wantsBookmarks, now.bookmarked != nudges.bookmarked || isOver {
                position = max(position, revision)
                try await writer.write(bookmark(endsInitial: false))
            }
            if isOver || now.ended != nudges.ended { return }
            nudges = now
        }
    }

    /// What a change means to who sees only the selection: what begins to match is added, what no longer does is deleted.
    private func visible(_ change: Change) -> (kind: String, object: StoredObject)? {
        let after = change.kind != .deleted && selection.includes(change.object)
        let before = change.previous.map(selection.includes) ?? false
        switch (before, after) {
        case (false, true): return ("ADDED", change.object)
        case (true, true): return ("MODIFIED", change.object)
        case (true, false):
            guard change.kind != .deleted, let previous = change.previous else { return ("DELETED", change.object) }
            return ("DELETED", StoredObject(previous.json, resourceVersion: change.object.resourceVersion))
        case (false, false): return nil
        }
    }

    private func line(_ kind: String, _ object: StoredObject, withColumns: Bool) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeString("{\"type\":\"\(kind)\",\"object\":")
        buffer.writeBytes(
            representation.bytes(
                of: object, resource, now: clock.now.timeIntervalSince1970, withColumns: withColumns))
        buffer.writeString("}\n")
        return buffer
    }

    private func bookmark(endsInitial: Bool) -> ByteBuffer {
        var metadata: JSON = ["resourceVersion": .string(String(position)), "creationTimestamp": nil]
        if endsInitial { metadata["annotations"] = ["k8s.io/initial-events-end": "true"] }
        let object: JSON = [
            "kind": .string(resource.kind), "apiVersion": .string(resource.apiVersion), "metadata": metadata,
        ]
        let event: JSON = ["type": "BOOKMARK", "object": object]
        return ByteBuffer(bytes: event.bytes + [0x0A])
    }
}
