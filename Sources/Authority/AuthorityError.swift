public import FoundationEssentials

/// Why the authority cannot start, or cannot go on.
public enum AuthorityError: Error, Sendable, Equatable, CustomStringConvertible {
    case lifetimes(AuthorityLifetimesFlaw)
    case store(StoreError)
    case seal(KeySealError)
    case otherTrustDomain(stored: String, wanted: String)
    case noKey(AuthorityID)
    case keyMismatch(AuthorityID)
    /// The journal of rotations cannot be followed.
    case journal(String)
    /// The first step cannot be taken.
    case rotation(RotationRefusal)
    case noRoot
    case plugin(PluginFlaw)
    /// The store's root is a plug-in CA's.
    case pluggedIn
    /// The store has a root that was made here.
    case selfMade
    case rootExpired(Date)
    case clockBeforeRoot(now: Date, notBefore: Date)
    case unfitCertificate(String)
    case signing(String)

    public var description: String {
        switch self {
        case .lifetimes(let flaw): return "\(flaw)"
        case .store(let error): return "\(error)"
        case .seal(let error): return "\(error)"
        case .otherTrustDomain(let stored, let wanted):
            return "the data directory belongs to trust domain \(stored), not \(wanted)"
        case .noKey(let id): return "the key of authority \(id) is not in the store"
        case .keyMismatch(let id): return "the stored key of authority \(id) does not fit its certificate"
        case .journal(let reason): return "the journal of rotations is damaged: \(reason)"
        case .rotation(let refusal): return "\(refusal)"
        case .plugin(let flaw): return "the plug-in CA is refused: \(flaw)"
        case .pluggedIn: return "the data directory is of an authority with a plug-in CA"
        case .selfMade:
            return "the data directory is of an authority that made its root itself; a plug-in CA cannot take its place"
        case .noRoot: return "the store has authorities, but no usable root among them"
        case .rootExpired(let end): return "the root expired at \(end.iso8601)"
        case .clockBeforeRoot(let now, let start):
            return "the clock says \(now.iso8601), which is before the root was made (\(start.iso8601))"
        case .unfitCertificate(let reason): return "a certificate was not released: \(reason)"
        case .signing(let reason): return "signing failed: \(reason)"
        }
    }

    public var hint: String? {
        switch self {
        case .store(let error): return error.hint
        case .seal(.wrongKey), .keyMismatch:
            return "restore authority.key and authority.sqlite together from one backup"
        case .otherTrustDomain(let stored, _): return "pass --trust-domain \(stored), or another --data directory"
        case .noKey, .noRoot, .journal: return "restore the data directory from a backup"
        case .rotation(let refusal): return refusal.hint
        case .plugin(let flaw): return flaw.hint
        case .pluggedIn: return "pass --ca-dir with its files"
        case .selfMade: return "start without --ca-dir, or with an empty --data directory and let every node join again"
        case .rootExpired:
            return
                "if the clock is right, start with an empty --data directory and let every node join again with a new token"
        case .clockBeforeRoot: return "set the clock (NTP) and start again"
        case .lifetimes, .seal, .unfitCertificate, .signing: return nil
        }
    }
}

extension Date {
    /// `2026-01-31T09:00:00Z`.
    var iso8601: String { formatted(.iso8601) }
}
