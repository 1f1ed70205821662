internal import Synchronization

/// An object as it was at one resource version: the value, and the bytes that every answer about it consists of.
struct StoredObject: Sendable {
    let json: JSON
    /// Without kind and version: items of lists have neither, and what else is answered is given its own.
    let bytes: [UInt8]
    let resourceVersion: Int

    /// - Parameter resourceVersion: nil for what was tried only: a dry run's new object has none.
    init(_ json: JSON, resourceVersion: Int?) {
        var json = json
        json["metadata"]["resourceVersion"] = resourceVersion.map { .string(String($0)) } ?? .null
        self.json = json
        var bare = json
        bare["apiVersion"] = nil
        bare["kind"] = nil
        self.bytes = bare.bytes
        self.resourceVersion = resourceVersion ?? 0
    }

    var metadata: JSON { json["metadata"] }
    var name: String { metadata["name"].string ?? "" }
    var namespace: String { metadata["namespace"].string ?? "" }
    var uid: String { metadata["uid"].string ?? "" }
}

/// One change of one object. A removal carries the object's last state, at the version of the removal.
struct Change: Sendable {
    enum Kind: String, Sendable { case added = "ADDED", modified = "MODIFIED", deleted = "DELETED" }

    let kind: Kind
    let key: String
    let object: StoredObject
    let previous: StoredObject?
}

/// The objects of one resource, sorted by key as etcd has them, and the changes that led to them, as far back as they are kept.
struct ObjectCollection: Sendable {
    private(set) var keys: [String] = []
    private(set) var objects: [String: StoredObject] = [:]
    private(set) var history: ArraySlice<Change> = []
    /// Changes up to this version are forgotten.
    private(set) var compactedThrough = 0

    subscript(key: String) -> StoredObject? { objects[key] }

    static func key(_ namespace: String, _ name: String) -> String { namespace.isEmpty ? name : namespace + "/" + name }

    mutating func put(_ object: StoredObject, at key: String) {
        let previous = objects.updateValue(object, forKey: key)
        if previous == nil { keys.insert(key, at: index(of: key)) }
        history.append(
            Change(kind: previous == nil ? .added : .modified, key: key, object: object, previous: previous))
    }

    mutating func remove(_ key: String, resourceVersion: Int) {
        guard let previous = objects.removeValue(forKey: key) else { return }
        keys.remove(at: index(of: key))
        let last = StoredObject(previous.json, resourceVersion: resourceVersion)
        history.append(Change(kind: .deleted, key: key, object: last, previous: previous))
    }

    /// Forgets the oldest changes. The real server keeps them for a time (etcd: five minutes) or a number (its watch cache).
    mutating func compact(keeping count: Int) {
        guard history.count > count else { return }
        let forgotten = history.prefix(history.count - count)
        compactedThrough = forgotten.last?.object.resourceVersion ?? compactedThrough
        // What is left is not copied: there is one such call for each change.
        history.removeFirst(history.count - count)
    }

    mutating func compact(through version: Int) {
        history = ArraySlice(history.drop { $0.object.resourceVersion <= version })
        compactedThrough = max(compactedThrough, version)
    }

    /// Changes after a version, in order; nil where they are no longer known.
    func changes(after version: Int) -> ArraySlice<Change>? {
        guard version >= compactedThrough else { return nil }
        var low = history.startIndex
        var high = history.endIndex
        while low < high {
            let middle = (low + high) / 2
            if history[middle].object.resourceVersion <= version { low = middle + 1 } else { high = middle }
        }
        return history[low...]
    }

    /// The collection as it was at a version: what happened since is undone, newest first. Nil where that is no longer known.
    func snapshot(at version: Int) -> ObjectCollection? {
        guard let changes = changes(after: version) else { return nil }
        var past = self
        for change in changes.reversed() {
            if let previous = change.previous {
                if past.objects.updateValue(previous, forKey: change.key) == nil {
                    past.keys.insert(change.key, at: past.index(of: change.key))
                }
            } else {
                past.objects[change.key] = nil
                past.keys.remove(at: past.index(of: change.key))
            }
        }
        return past
    }

    /// Where the key stands, or would.
    func index(of key: String) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The keys of one namespace, or all.
    func keys(in namespace: String?) -> ArraySlice<String> {
        guard let namespace, !namespace.isEmpty else { return keys[...] }
        let first = index(of: namespace + "/")
        return keys[first..<index(of: namespace + "0")]  // "0" follows "/".
    }
}

/// What the cluster holds: every resource's objects under one counter of versions, as in etcd.
///
/// A change is decided and made under one lock, so that requests are in one order; watchers are woken after it, and read on
/// from their own place in the history. One that reads too slowly finds its place forgotten, and is told so (410).
final class Storage: Sendable {
    struct State: Sendable {
        var revision = 1
        var collections: [String: ObjectCollection] = [:]
        let historyMax: Int
        /// In PEM, for what every namespace is given.
        var rootCertificate = ""
        fileprivate(set) var changed = false
        /// Counted up by each switch that ends or nudges watches; a watch compares with what it saw last.
        var nudges = WatchNudges()

        subscript(resource: Resource) -> ObjectCollection { collections[resource.storage] ?? ObjectCollection() }

        func object(_ resource: Resource, _ namespace: String, _ name: String) -> StoredObject? {
            collections[resource.storage]?[ObjectCollection.key(namespace, name)]
        }

        @discardableResult
        mutating func put(_ resource: Resource, _ json: JSON) -> StoredObject {
            revision += 1
            changed = true
            let object = StoredObject(json, resourceVersion: revision)
            let key = ObjectCollection.key(resource.isNamespaced ? object.namespace : "", object.name)
            collections[resource.storage, default: ObjectCollection()].put(object, at: key)
            collections[resource.storage]?.compact(keeping: historyMax)
            return object
        }

        mutating func remove(_ resource: Resource, _ object: StoredObject) {
            revision += 1
            changed = true
            let key = ObjectCollection.key(resource.isNamespaced ? object.namespace : "", object.name)
            collections[resource.storage]?.remove(key, resourceVersion: revision)
            collections[resource.storage]?.compact(keeping: historyMax)
        }

        /// Wakes watches, though nothing has changed.
        mutating func nudge() { changed = true }
    }

    private let state: Mutex<State>
    private struct Listeners {
        var next = 0
        var watches: [Int: AsyncStream<Void>.Continuation] = [:]
        var waits: [Int: AsyncStream<Void>.Continuation] = [:]
    }

    private let listeners = Mutex(Listeners())

    init(historyMax: Int) { state = Mutex(State(historyMax: historyMax)) }

    func read<Result: Sendable>(_ body: (State) throws -> Result) rethrows -> Result {
        try state.withLock { try body($0) }
    }

    /// Makes changes; one that throws leaves nothing behind.
    func write<Result: Sendable>(_ body: (inout State) throws -> Result) rethrows -> Result {
        let (result, changed) = try state.withLock { state in
            let before = state.revision
            do {
                state.changed = false
                let result = try body(&state)
                return (result, state.changed)
            } catch {
                assert(state.revision == before, "a refused request has changed the storage")
                throw error
            }
        }
        if changed { wake() }
        return result
    }

    /// Yields whenever there may be something new; what comes while nobody looks is one yield.
    ///
    /// - Parameter isWait: it is no watch, but a test that waits; such are woken by requests, too.
    func signals(
        isWait: Bool = false
    ) -> (id: Int, stream: AsyncStream<Void>, wake: AsyncStream<Void>.Continuation) {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        continuation.yield()
        let id = listeners.withLock { listeners in
            listeners.next += 1
            if isWait {
                listeners.waits[listeners.next] = continuation
            } else {
                listeners.watches[listeners.next] = continuation
            }
            return listeners.next
        }
        wakeWaits()
        return (id, stream, continuation)
    }

    func forget(_ id: Int) {
        let continuation = listeners.withLock { listeners in
            listeners.watches.removeValue(forKey: id) ?? listeners.waits.removeValue(forKey: id)
        }
        continuation?.finish()
        wakeWaits()
    }

    var watchCount: Int { listeners.withLock { $0.watches.count } }

    /// Ends every watch.
    func finish() {
        for continuation in listeners.withLock({ Array($0.watches.values) }) { continuation.finish() }
    }

    private func wake() {
        for continuation in listeners.withLock({ Array($0.watches.values) }) { continuation.yield() }
        wakeWaits()
    }

    /// Something happened that changes no object.
    func wakeWaits() {
        for continuation in listeners.withLock({ Array($0.waits.values) }) { continuation.yield() }
    }
}

/// How often something was done to all watches.
struct WatchNudges: Sendable, Equatable {
    var ended = 0
    var cut = 0
    var bookmarked = 0
}
