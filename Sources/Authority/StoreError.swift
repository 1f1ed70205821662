/// Why the store did not do what was asked. Nothing has been written then.
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
        case .cannotOpen, .conflict, .other: return nil
        }
    }
}
