internal import Crypto
public import FoundationEssentials
internal import SPIFFE

/// A one-time secret with which one node proves, once, which node it is.
///
/// 256 random bits as text. The authority keeps only its digest, so looking it up needs no comparison in constant time: who can
/// choose digests' prefixes has broken SHA-256.
public struct JoinToken: Sendable {
    public let text: String
    static let prefix = "cvt-"
    static let textLengthMax = 128

    init(random: RandomBytes) {
        text = Self.prefix + hexadecimal(random(32))
    }

    /// nil if it cannot be one of ours.
    static func digest(of text: String) -> [UInt8]? {
        let bytes = text.utf8
        guard bytes.count <= textLengthMax, bytes.starts(with: prefix.utf8) else { return nil }
        return Array(SHA256.hash(data: Array(bytes)))
    }

    var digest: [UInt8] { Array(SHA256.hash(data: Array(text.utf8))) }
}

/// What the store keeps of a join token.
public struct JoinTokenRecord: Sendable, Equatable {
    public let digest: [UInt8]
    public let node: NodeName
    public let createdAt: Date
    public let expiresAt: Date
    public var usedAt: Date?

    public init(digest: [UInt8], node: NodeName, createdAt: Date, expiresAt: Date, usedAt: Date? = nil) {
        self.digest = digest
        self.node = node
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.usedAt = usedAt
    }

    /// Throws what is wrong with it at `now`. A used token is reported as used even when it has expired since.
    func check(at now: Date) throws(Denial) {
        guard usedAt == nil else { throw .tokenUsed }
        guard now < expiresAt else { throw .tokenExpired }
    }
}
