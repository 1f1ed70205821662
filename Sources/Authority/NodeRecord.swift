public import FoundationEssentials
public import SPIFFE

/// A node as the store keeps it: attested, or with tokens alone.
public struct NodeRecord: Sendable, Equatable {
    public let name: NodeName
    public let id: SPIFFEID
    public var attestedAt: Date
    /// Of the newest SVID that the node was seen to use, or was given when it attested; empty for a node that has only ever shown tokens.
    public var serial: String
    /// Of a renewed SVID that the node was not seen to use yet.
    public var nextSerial: String?
    /// Of the newest SVID that it was given.
    public var expiresAt: Date
    public var ban: NodeBan?
    /// When somebody last showed an SVID of this node that another holder had replaced: two live holders of one identity.
    public var cloneSeenAt: Date?
    public var acknowledgement: NodeAcknowledgement?

    public init(
        name: NodeName,
        id: SPIFFEID,
        attestedAt: Date,
        serial: String,
        nextSerial: String? = nil,
        expiresAt: Date,
        ban: NodeBan? = nil,
        cloneSeenAt: Date? = nil,
        acknowledgement: NodeAcknowledgement? = nil
    ) {
        self.name = name
        self.id = id
        self.attestedAt = attestedAt
        self.serial = serial
        self.nextSerial = nextSerial
        self.expiresAt = expiresAt
        self.ban = ban
        self.cloneSeenAt = cloneSeenAt
        self.acknowledgement = acknowledgement
    }

    public var banned: Bool { ban != nil }
    /// Whether it has an SVID of its own. One that has only ever shown tokens holds no bundle of which anybody knows: nothing waits for it.
    public var hasAttested: Bool { !serial.isEmpty }

    /// A node as it is first heard of by a token that speaks for it.
    static func bearer(_ name: NodeName, _ id: SPIFFEID, at now: Date) -> NodeRecord {
        NodeRecord(name: name, id: id, attestedAt: now.inWholeSeconds, serial: "", expiresAt: now.inWholeSeconds)
    }
}

/// That a node gets nothing any more, until it is unbanned or evicted.
public struct NodeBan: Sendable, Equatable {
    public static let reasonLengthMax = 256

    public let at: Date
    /// The operator's words, cut at `reasonLengthMax` characters.
    public let reason: String

    public init(at: Date, reason: String) {
        self.at = at
        self.reason = String(reason.prefix(Self.reasonLengthMax))
    }
}

/// Who calls, as the transport has proven: a node by its SVID.
public struct NodeCaller: Sendable, Equatable, CustomStringConvertible {
    public let id: SPIFFEID
    /// Of the SVID that it showed; lower-case hexadecimal.
    public let serial: String

    public init(id: SPIFFEID, serial: String) {
        self.id = id
        self.serial = serial
    }

    public var description: String { id.description }
}

/// Which of its SVIDs a node shows, and what follows from that: a value without I/O.
///
/// A renewal gives a second SVID beside the one in use, since its answer may get lost. The first use of the second makes the first
/// one worthless; who shows it later than that holds a copy of the node's key, or is the one it was copied from. Both cannot be told
/// apart, so the later comer is refused and the operator told.
public enum PresentedSVID: Sendable, Equatable {
    case current
    /// The renewed SVID, for the first time.
    case successor
    case superseded

    /// For this long after the successor was first seen, calls may still arrive over connections that were made before.
    public static let drainTime: Duration = .seconds(30)

    public init(serial: String, of node: NodeRecord) {
        if serial.utf8.elementsEqual(node.serial.utf8) {
            self = .current
        } else if let next = node.nextSerial, serial.utf8.elementsEqual(next.utf8) {
            self = .successor
        } else {
            self = .superseded
        }
    }
}

/// What a node says it holds: the ground on which later rotations decide that nobody is left behind.
public struct NodeAcknowledgement: Sendable, Equatable {
    /// What depends on one authority on one node: leaves that it signed, and connections whose chains end at it.
    public struct Leaves: Sendable, Equatable, Codable {
        public let authority: String
        public let count: UInt32
        /// Seconds since 1970; 0 without leaves.
        public let oldestExpiry: Int64
        public let connections: UInt32

        public init(authority: AuthorityID, count: UInt32, oldestExpiry: Int64, connections: UInt32 = 0) {
            self.authority = authority.description
            self.count = count
            self.oldestExpiry = oldestExpiry
            self.connections = connections
        }

        public init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            authority = try container.decode(String.self, forKey: .authority)
            count = try container.decode(UInt32.self, forKey: .count)
            oldestExpiry = try container.decode(Int64.self, forKey: .oldestExpiry)
            // Stores of older versions have none.
            connections = try container.decodeIfPresent(UInt32.self, forKey: .connections) ?? 0
        }
    }

    /// A node that reports leaves of more authorities than this is cut short.
    public static let authoritiesMax = 64

    /// The bundle sequence that the node verifies peers with.
    public let sequence: UInt64
    public let version: String
    public let leaves: [Leaves]
    public let at: Date

    public init(sequence: UInt64, version: String, leaves: [Leaves], at: Date) {
        self.sequence = sequence
        self.version = String(version.prefix(64))
        self.leaves = Array(leaves.prefix(Self.authoritiesMax))
        self.at = at
    }

    public var leafCount: UInt64 { leaves.reduce(0) { $0 + UInt64($1.count) } }
    /// Each counts for the root at either end's chain, which may be two.
    public var connectionCount: UInt64 { leaves.reduce(0) { $0 + UInt64($1.connections) } }
}
