public import FoundationEssentials
internal import Glibc
public import SPIFFE

/// What the authority did and refused to do: one event per signature, per denial and per administrative act.
public enum AuditEvent: Sendable, Equatable {
    /// A step of the authorities' life, with the reason if it went past a guard; `by` whom it was asked for, nil for what was due by itself
    /// or follows from such a step.
    case rotated(RotationRecord, by: AdminCaller?)
    /// Live nodes that the step did not wait for: what they hold is worth nothing to others, or others' to them.
    case nodesCutOff(RotationRecord.CutOff, by: RotationRecord)
    case rotationRefused(RotationCommand, RotationRefusal, by: AdminCaller)
    /// Good, and to sign once every live node has its root.
    case pluginAccepted(AuthorityID, notAfter: Date)
    /// The set in force goes on.
    case pluginRefused(PluginFlaw)
    case pluginWaits(AuthorityID, for: [NodeName])
    case authorityActivated(AuthorityID, AuthorityRecord.Kind, notAfter: Date)
    /// `clampedFrom` is the end that was wanted, where the issuer's own end came first.
    case signed(IssuanceRecord, clampedFrom: Date?)
    /// For the operator, who said why; `clampedFrom` is the end that was asked for, where a limit came first.
    case minted(IssuanceRecord, clampedFrom: Date?, reason: String, by: AdminCaller)
    /// `caller` is a node's name or a network address.
    case denied(Denial, caller: String, subject: String)
    case tokenCreated(NodeName, expiresAt: Date, by: AdminCaller)
    case nodeAttested(NodeName, from: String)
    /// The node was away for longer than its SVID lived, and has renewed it by itself.
    case nodeRenewedAfterExpiry(NodeName, serial: String, expiredAt: Date)
    /// Somebody showed an SVID of the node that another holder has replaced since.
    case cloneSeen(NodeName, serial: String, inUse: String)
    case nodeBanned(NodeName, reason: String, by: AdminCaller)
    case nodeUnbanned(NodeName, reason: String, by: AdminCaller)
    case nodeEvicted(NodeName, reason: String, by: AdminCaller)
    /// The node claims a bundle that this authority has not published yet: its store is older than what the node has seen.
    case acknowledgedFuture(NodeName, sequence: UInt64, current: UInt64)
}

/// Who does an administrative act: a process, as the kernel says of the other end of the admin socket, or a workload, by its SVID.
public struct AdminCaller: Sendable, Equatable {
    /// Nobody's where it is a workload.
    public let uid: UInt32
    public let pid: Int32
    public let id: SPIFFEID?

    public init(uid: UInt32, pid: Int32) {
        (self.uid, self.pid, id) = (uid, pid, nil)
    }

    public init(id: SPIFFEID) {
        (uid, pid, self.id) = (.max, 0, id)
    }

    /// Acts that nobody else has asked for.
    public static var thisProcess: AdminCaller { AdminCaller(uid: geteuid(), pid: getpid()) }
}

/// Takes audit events; called outside all locks, from any thread. A function that must not block.
public typealias AuditTrail = @Sendable (AuditEvent) -> Void
