public import FoundationEssentials

/// One step of the authorities' life as the journal keeps it.
public struct RotationRecord: Sendable, Equatable, Codable {
    public enum Step: Sendable, Equatable, Codable {
        /// The state itself: the first record, and later the one that makes those before it history.
        case checkpoint(state: RotationState)
        case started(emergency: Bool, reason: RotationReason?, replaces: [AuthorityID])
        case prepared(id: AuthorityID, notBefore: Date, notAfter: Date)
        case activated(id: AuthorityID, leafLifetime: Int64)
        case tainted(id: AuthorityID)
        case revoked(id: AuthorityID)
        /// It signs no more and has run out: it goes without further ado.
        case expired(id: AuthorityID)
        /// It never signed. `cancels`: and the rotation that it was prepared for ends here.
        case aborted(id: AuthorityID, cancels: Bool)
        case finished(id: UInt64)
        /// The active authority's leaves may live longer from now on.
        case leafLifetime(seconds: Int64)
    }

    /// Why the step, or the rotation that begins with it, was asked for past the guards.
    public var reason: RotationReason? {
        if case .started(_, let reason, _) = step { return reason }
        return override?.reason
    }

    /// That somebody, or an emergency, went past a guard.
    public struct Override: Sendable, Equatable, Codable {
        public let reason: RotationReason
        /// What was being waited for.
        public let waivedWait: String
        /// Whom the step leaves behind; nil where it was time alone that was not waited for.
        public var cutOff: CutOff?
    }

    /// Nodes that a step was not willing to wait for.
    public struct CutOff: Sendable, Equatable, Codable {
        /// More are counted, and not named.
        public static let namesMax = 256

        public let count: Int
        /// In their order.
        public let names: [String]

        init?(_ waits: [RotationRefusal]) {
            let nodes = Set(waits.flatMap(\.nodes))
            guard !nodes.isEmpty else { return nil }
            count = nodes.count
            names = nodes.sorted().prefix(Self.namesMax).map(\.description)
        }
    }

    /// 1, 2, 3 and so on.
    public let position: UInt64
    public let at: Date
    public let step: Step
    /// The bundle's sequence after this step.
    public let sequence: UInt64
    public let override: Override?
}

extension RotationRecord.Step {
    /// One word, or two, for lists.
    public var word: String {
        switch self {
        case .checkpoint: "checkpoint"
        case .started: "started"
        case .prepared: "prepared"
        case .activated: "activated"
        case .tainted: "tainted"
        case .revoked: "revoked"
        case .expired: "expired"
        case .aborted: "aborted"
        case .finished: "finished"
        case .leafLifetime: "leaf lifetime"
        }
    }

    /// The one whose state changes.
    public var authority: AuthorityID? {
        switch self {
        case .prepared(let id, _, _), .activated(let id, _), .tainted(let id), .revoked(let id), .expired(let id),
            .aborted(let id, _):
            id
        case .checkpoint, .started, .finished, .leafLifetime: nil
        }
    }
}

/// Why somebody wants what the guards forbid: 1 to 500 bytes on one line.
public struct RotationReason: Sendable, Equatable, Codable, CustomStringConvertible {
    public static let sizeMax = 500
    public let description: String

    public init(_ text: String) throws(RotationRefusal) {
        guard (1...Self.sizeMax).contains(text.utf8.count), text.utf8.contains(where: { $0 != 0x20 }),
            text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f })
        else { throw .unusableReason }
        description = text
    }

    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// A record that cannot follow on the state before it: the journal is damaged, or not this store's.
public struct RotationFlaw: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String

    init(_ record: RotationRecord, _ reason: String) {
        description = "rotation record \(record.position): \(reason)"
    }

    init(_ description: String) { self.description = description }
}

extension AuthorityID: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = AuthorityID(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an authority's id")
        }
        self = id
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
