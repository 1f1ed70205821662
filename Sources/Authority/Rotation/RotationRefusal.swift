public import FoundationEssentials

/// Why a step is not taken: what it waits for, or why it will never be.
public enum RotationRefusal: Error, Sendable, Equatable, CustomStringConvertible {
    public struct Laggard: Sendable, Equatable {
        public let node: NodeName
        /// nil if it has never acknowledged any.
        public let acknowledged: UInt64?
    }

    public struct Dependent: Sendable, Equatable {
        public let node: NodeName
        public let count: UInt64
    }

    // Waits, which a reason overrides.
    /// These nodes verify with an older bundle.
    case awaitingAcknowledgement(AuthorityID, sequence: UInt64, laggards: [Laggard])
    /// These nodes have not said what they hold since the authority stopped signing.
    case awaitingReports(AuthorityID, nodes: [NodeName])
    case inUse(AuthorityID, by: [Dependent])
    /// Leaves that no node reports, and connections, may last until then.
    case undrained(AuthorityID, until: Date)
    /// The clock is behind the journal.
    case clockWentBack(now: Date, recorded: Date)

    // What no reason overrides.
    case unknown(AuthorityID)
    case wrongState(AuthorityID, is: AuthorityRecord.State, wanted: AuthorityRecord.State)
    case alreadyPrepared(AuthorityID)
    case nothingPrepared
    case notYetValid(AuthorityID, from: Date)
    case tooLittleLife(AuthorityID, notAfter: Date, needed: Date)
    case tooManyAuthorities(Int)
    /// The candidate's key has been an authority's before.
    case keyUsedBefore(AuthorityID)
    case rotationUnderWay(UInt64)
    case nothingToResume
    case nothingToRotate
    case unusableReason
    /// The operator's files decide which authority signs.
    case pluggedIn
    /// A node has a bundle that this store does not know of: under the next number it would have other content.
    case olderCopy(NodeName, sequence: UInt64, current: UInt64)
    /// What an operator wrote names no authority.
    case unnamed(String)

    /// Whether `--force` with a reason goes past it.
    public var yieldsToForce: Bool {
        switch self {
        case .awaitingAcknowledgement, .awaitingReports, .inUse, .undrained, .clockWentBack: true
        default: false
        }
    }

    public var description: String {
        switch self {
        case .awaitingAcknowledgement(let id, let sequence, let laggards):
            let names = Self.list(laggards) { "\($0.node) (\($0.acknowledged.map { "at \($0)" } ?? "at none"))" }
            return "authority \(id) waits for \(laggards.count) nodes to acknowledge bundle \(sequence): \(names)"
        case .awaitingReports(let id, let nodes):
            return
                "authority \(id) waits for \(nodes.count) nodes to say what they still hold: \(Self.list(nodes) { "\($0)" })"
        case .inUse(let id, let dependents):
            let names = Self.list(dependents) { "\($0.node) (\($0.count))" }
            return "leaves or connections on \(dependents.count) nodes depend on authority \(id): \(names)"
        case .undrained(let id, let date):
            return "leaves and connections of authority \(id) may last until \(date.iso8601)"
        case .clockWentBack(let now, let recorded):
            return "the clock says \(now.iso8601), but the last step was taken at \(recorded.iso8601)"
        case .unknown(let id): return "there is no authority \(id)"
        case .wrongState(let id, let state, let wanted): return "authority \(id) is \(state), not \(wanted)"
        case .alreadyPrepared(let id): return "authority \(id) is prepared already"
        case .nothingPrepared: return "no authority is prepared"
        case .notYetValid(let id, let date): return "authority \(id) is not valid before \(date.iso8601)"
        case .tooLittleLife(let id, let notAfter, let needed):
            return "authority \(id) ends at \(notAfter.iso8601); to sign it has to last until \(needed.iso8601)"
        case .tooManyAuthorities(let max): return "the bundle has \(max) authorities, which is as many as it may"
        case .keyUsedBefore(let id): return "the key of authority \(id) was an authority's before"
        case .rotationUnderWay(let id): return "rotation \(id) is under way"
        case .nothingToResume: return "no rotation is under way"
        case .nothingToRotate: return "there is no authority yet"
        case .unnamed(let text): return "“\(text)” is not an authority's id"
        case .pluggedIn: return "a plug-in CA signs here: what follows it is decided by its files"
        case .olderCopy(let node, let sequence, let current):
            return
                "node \(node) has bundle \(sequence), this authority is at \(current): the store is an older copy"
        case .unusableReason:
            return "a reason is 1 to \(RotationReason.sizeMax) bytes of text on one line"
        }
    }

    /// What the operator can do about it.
    public var hint: String? {
        switch self {
        case .awaitingAcknowledgement:
            return "bring these nodes back, or ban them; --force with a reason cuts them off until they have the bundle"
        case .awaitingReports:
            return "bring these nodes back, or ban them; --force with a reason cuts off whatever they still hold"
        case .inUse: return "wait for the leaves to be issued anew; --force with a reason cuts their connections off"
        case .undrained: return "wait, or cut off what may be left with --force and a reason"
        case .clockWentBack: return "set the clock (NTP); if the journal is what is wrong, use --force with a reason"
        case .unknown, .unnamed, .nothingToRotate, .nothingToResume: return "“culvert ca status” lists what there is"
        case .wrongState(_, is: .active, wanted: .old):
            return "activate another first: “culvert ca rotate --emergency” does it all in order"
        case .wrongState(_, is: .prepared, wanted: .old): return "it has signed nothing: “culvert ca abort” drops it"
        case .wrongState(let id, is: .old, wanted: .tainted): return "“culvert ca taint \(id)” first"
        case .alreadyPrepared(let id): return "“culvert ca activate \(id)”, or “culvert ca abort”"
        case .nothingPrepared: return "“culvert ca prepare” first"
        case .notYetValid: return "set the clock (NTP)"
        case .tooLittleLife: return "“culvert ca abort”, then “culvert ca prepare” for one that lasts longer"
        case .pluggedIn:
            return "put the next set of files in the --ca-dir directory; “culvert ca status” shows when it signs"
        case .olderCopy:
            return
                "restore the newest backup, or evict the nodes that are ahead and let them join anew with an empty --state-dir"
        case .tooManyAuthorities: return "taint and revoke old authorities first"
        case .rotationUnderWay: return "“culvert ca rotate --resume”, or “culvert ca abort” while nothing is activated"
        case .wrongState, .keyUsedBefore, .unusableReason: return nil
        }
    }

    /// The first few: messages stay short however large the cluster.
    private static func list<Element>(_ elements: [Element], _ text: (Element) -> String) -> String {
        let shown = elements.prefix(5).map(text).joined(separator: ", ")
        return elements.count > 5 ? "\(shown) and \(elements.count - 5) more" : shown
    }
}

extension RotationRefusal {
    /// A wait ends by itself, by time or by what nodes do, and a reason goes past it; the others stay as they are.
    public var isWait: Bool {
        switch self {
        case .awaitingAcknowledgement, .awaitingReports, .inUse, .undrained, .clockWentBack: true
        default: false
        }
    }

    /// One word for programs.
    public var kind: String {
        switch self {
        case .awaitingAcknowledgement: "acknowledgement"
        case .awaitingReports: "reports"
        case .inUse: "use"
        case .undrained: "drain"
        case .clockWentBack: "clock"
        default: "refused"
        }
    }

    public var authority: AuthorityID? {
        switch self {
        case .awaitingAcknowledgement(let id, _, _), .awaitingReports(let id, _), .inUse(let id, _),
            .undrained(let id, _),
            .unknown(let id), .wrongState(let id, _, _), .alreadyPrepared(let id), .notYetValid(let id, _),
            .tooLittleLife(let id, _, _), .keyUsedBefore(let id):
            id
        default: nil
        }
    }

    /// Whom it waits for.
    public var nodes: [NodeName] {
        switch self {
        case .awaitingAcknowledgement(_, _, let laggards): laggards.map(\.node)
        case .awaitingReports(_, let nodes): nodes
        case .inUse(_, let dependents): dependents.map(\.node)
        default: []
        }
    }

    /// When it ends by time alone.
    public var until: Date? {
        if case .undrained(_, let until) = self { until } else { nil }
    }
}
