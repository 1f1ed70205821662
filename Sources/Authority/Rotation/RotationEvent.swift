public import FoundationEssentials

/// What operators ask for.
public enum RotationCommand: Sendable, Equatable {
    /// Publish a new authority.
    case prepare
    /// Sign with the prepared authority from now on.
    case activate(AuthorityID, force: RotationReason? = nil)
    /// Have every leaf of an old authority issued anew.
    case taint(AuthorityID)
    /// Take a tainted authority out of the bundle.
    case revoke(AuthorityID, force: RotationReason? = nil)
    /// Give up the prepared authority, and a rotation that has not activated anything yet.
    case abort
    /// All of it: prepare, activate, taint and revoke what there was.
    case rotate
    /// The same where the keys may be in strangers' hands: waits for nodes only so long.
    case rotateInEmergency(RotationReason)
    /// Take the next step of the rotation that is under way.
    case resume

    /// Why it is to go past the guards' waits.
    var force: RotationReason? {
        switch self {
        case .activate(_, let force), .revoke(_, let force): force
        default: nil
        }
    }
}

public enum RotationEvent: Sendable, Equatable {
    case command(RotationCommand)
    /// Time has passed, or a node has reported.
    case tick
}

/// A live node: attested, not banned, its own SVID not expired.
public struct RotationNode: Sendable, Equatable {
    public struct Report: Sendable, Equatable {
        /// The bundle that the node verifies peers with.
        public var sequence: UInt64
        /// Leaves and connections on the node that chain to each root; roots with neither are left out.
        public var dependents: [AuthorityID: UInt64]
        public var at: Date

        public init(sequence: UInt64, dependents: [AuthorityID: UInt64] = [:], at: Date) {
            self.sequence = sequence
            self.dependents = dependents
            self.at = at
        }
    }

    public let name: NodeName
    /// nil until the node has said something.
    public var report: Report?

    public init(name: NodeName, report: Report? = nil) {
        self.name = name
        self.report = report
    }

    /// nil if the node is not live. Leaves count for the root above their issuer; `issuers` has the root of every intermediate. Leaves
    /// of an issuer that is not there count for every root: nobody's trust is withdrawn on a guess. Connections of a root that is not
    /// there are other trust domains' affair.
    init?(_ record: NodeRecord, issuers: [AuthorityID: AuthorityID], now: Date) {
        guard !record.banned, record.expiresAt > now else { return nil }
        let report = record.acknowledgement.map { acknowledgement in
            var dependents: [AuthorityID: UInt64] = [:]
            for leaves in acknowledgement.leaves {
                if let root = AuthorityID(leaves.authority).flatMap({ issuers[$0] }) {
                    dependents[root, default: 0] += UInt64(leaves.count) + UInt64(leaves.connections)
                } else if leaves.count > 0 {
                    for root in Set(issuers.values) { dependents[root, default: 0] += UInt64(leaves.count) }
                }
            }
            dependents = dependents.filter { $0.value > 0 }
            return Report(sequence: acknowledgement.sequence, dependents: dependents, at: acknowledgement.at)
        }
        self.init(name: record.name, report: report)
    }
}

/// What the machine cannot know by itself.
public struct RotationSituation: Sendable, Equatable {
    /// An authority that has been made, checked and sealed, and that nobody has seen.
    public struct Candidate: Sendable, Equatable {
        public let id: AuthorityID
        public let notBefore: Date
        public let notAfter: Date

        public init(id: AuthorityID, notBefore: Date, notAfter: Date) {
            self.id = id
            self.notBefore = notBefore
            self.notAfter = notAfter
        }
    }

    public var now: Date
    /// All that live.
    public var nodes: [RotationNode]
    public var candidate: Candidate?

    public init(now: Date, nodes: [RotationNode], candidate: Candidate? = nil) {
        self.now = now.inWholeSeconds
        self.nodes = nodes
        self.candidate = candidate
    }
}

/// What others see of a step. Happens only after the step's record is durable, and can be repeated.
public enum RotationEffect: Sendable, Hashable {
    case publish(sequence: UInt64)
    case sign(with: AuthorityID)
    case reissue(leavesOf: AuthorityID)
}

public enum RotationDecision: Sendable, Equatable {
    /// Make the record durable, then do the rest.
    case commit(RotationRecord, effects: [RotationEffect])
    /// Make a new authority and ask again with it.
    case makeCandidate
    /// To a command: no. To a tick: a step is due, and this is what it waits for.
    case refuse(RotationRefusal)
    /// Nothing is due; `until` is when something will be by time alone.
    case idle(until: Date?)
}
