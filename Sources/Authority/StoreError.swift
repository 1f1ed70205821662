/// Why the store did not do what was asked. Nothing has been written then, except perhaps with `uncertain`.
public enum StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    case full(path: String)
    case readOnly(path: String)
    case corrupted(path: String, reason: String)
    case busy(path: String)
    case cannotOpen(path: String, reason: String)
    case inUse(path: String)
    case newerSchema(path: String)
    /// Somebody else changed the bundle in between.
    case conflict
    /// The authority that has signed signs no more, or the node has lost its standing: somebody else has seen to that.
    case superseded
    /// The database cannot be reached, or does not answer.
    case unavailable(path: String, reason: String)
    /// The connection ended while the database made the change durable: it may have been made, or not.
    case uncertain(path: String, reason: String)
    case other(path: String, reason: String)

    public var description: String {
        switch self {
        case .full(let path): return "no space left for \(path)"
        case .readOnly(let path): return "\(path) cannot be written"
        case .corrupted(let path, let reason): return "\(path) is damaged: \(reason)"
        case .busy(let path): return "\(path) is locked by another process"
        case .cannotOpen(let path, let reason): return "cannot open \(path): \(reason)"
        case .inUse(let path): return "another authority is running on \(path)"
        case .newerSchema(let path): return "\(path) was written by a newer culvert"
        case .conflict: return "the bundle was changed by somebody else meanwhile"
        case .superseded: return "the signing authority was replaced meanwhile, or the node lost its standing"
        case .unavailable(let path, let reason): return "\(path) cannot be used: \(reason)"
        case .uncertain(let path, let reason): return "\(path) may have made the change, or not: \(reason)"
        case .other(let path, let reason): return "\(path): \(reason)"
        }
    }

    /// What the operator can do about it.
    public var hint: String? {
        switch self {
        case .full: return "free space on its file system; nothing was issued meanwhile, and issuing resumes by itself"
        case .readOnly: return "check the file's owner and mode (0600) and that its file system is mounted read-write"
        case .corrupted: return "restore the data directory (authority.sqlite and authority.key together) from a backup"
        case .busy, .inUse: return "stop the other process, or give this one its own --data directory"
        case .newerSchema: return "run the culvert version that wrote it, or a newer one"
        case .unavailable:
            return
                "see that the database runs and takes this user; nothing was issued meanwhile, and issuing resumes by itself"
        case .cannotOpen, .conflict, .superseded, .uncertain, .other: return nil
        }
    }
}
