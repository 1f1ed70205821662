/// What has become of one object.
public enum ObjectChange<Object: KubernetesObject>: Sendable, Equatable {
    case added(Object)
    case modified(old: Object, new: Object)
    /// With its last known state. A name that is used again, by an object of another UID, is deleted first.
    case deleted(Object)

    /// The object as it is, or was at last.
    public var object: Object {
        switch self {
        case .added(let object), .modified(_, let object), .deleted(let object): object
        }
    }
}

/// What an informer tells, one after another.
public enum InformerEvent<Object: KubernetesObject>: Sendable, Equatable {
    /// All objects there are: once, before anything else.
    case synced([Object])
    /// What has happened since, in order. What happened in a gap (a broken connection, a server that forgot) comes in one piece,
    /// deletions first.
    case changed([ObjectChange<Object>])
    /// What is known may be behind from now on, and why.
    case interrupted(String)
    /// It is followed again.
    case resumed
}
