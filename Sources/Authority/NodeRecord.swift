public import FoundationEssentials
public import SPIFFE

/// An attested node as the store keeps it.
public struct NodeRecord: Sendable, Equatable {
    public let name: NodeName
    public let id: SPIFFEID
    public var attestedAt: Date
    /// Of the node's newest SVID.
    public var serial: String
    public var expiresAt: Date
    public var banned: Bool
    public var acknowledgement: NodeAcknowledgement?

    public init(
        name: NodeName,
        id: SPIFFEID,
        attestedAt: Date,
        serial: String,
        expiresAt: Date,
        banned: Bool = false,
        acknowledgement: NodeAcknowledgement? = nil
    ) {
        self.name = name
        self.id = id
        self.attestedAt = attestedAt
        self.serial = serial
        self.expiresAt = expiresAt
        self.banned = banned
        self.acknowledgement = acknowledgement
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
