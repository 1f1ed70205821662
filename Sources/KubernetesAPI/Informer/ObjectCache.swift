/// A selection's objects as they are known, and what each list and event changes of that.
struct ObjectCache<Object: KubernetesObject>: Sendable {
    private(set) var objects: [ObjectKey: Object] = [:]
    /// Up to where everything is known; nil before the first list.
    private(set) var resourceVersion: String?

    /// Takes a list's word for everything: what it does not have is gone. Deletions come first, so that an address that has passed
    /// from one pod to another is free before it is taken.
    mutating func replace(with list: ObjectList<Object>) -> [ObjectChange<Object>] {
        var missing = objects
        var gone: [ObjectChange<Object>] = []
        var others: [ObjectChange<Object>] = []
        for object in list.items {
            missing[object.key] = nil
            for change in put(object) {
                if case .deleted = change { gone.append(change) } else { others.append(change) }
            }
        }
        for (key, object) in missing.sorted(by: { $0.key < $1.key }) {
            objects[key] = nil
            gone.append(.deleted(object))
        }
        resourceVersion = list.resourceVersion
        return gone + others
    }

    /// Takes an event. One that is not after what is known is a repetition, or came late: it is dropped.
    mutating func apply(_ event: WatchEvent<Object>) -> [ObjectChange<Object>] {
        switch event {
        case .bookmark(let version):
            _ = advance(to: version)
            return []
        case .added(let object), .modified(let object):
            return advance(to: object.metadata.resourceVersion) ? put(object) : []
        case .deleted(let object):
            guard advance(to: object.metadata.resourceVersion), let known = objects[object.key],
                known.metadata.uid == object.metadata.uid
            else { return [] }
            objects[object.key] = nil
            return [.deleted(object)]
        case .error: return []
        }
    }

    private mutating func advance(to version: String) -> Bool {
        if let known = resourceVersion, ResourceVersion.isNotAfter(version, known) { return false }
        if !version.isEmpty { resourceVersion = version }
        return true
    }

    /// A change in fields that are not decoded is none.
    private mutating func put(_ object: Object) -> [ObjectChange<Object>] {
        guard let old = objects.updateValue(object, forKey: object.key) else { return [.added(object)] }
        guard old.metadata.uid == object.metadata.uid else { return [.deleted(old), .added(object)] }
        var same = old
        same.metadata.resourceVersion = object.metadata.resourceVersion
        return same == object ? [] : [.modified(old: old, new: object)]
    }
}
