public import FoundationEssentials
public import SPIFFE

/// One signature, as the log keeps it.
public struct IssuanceRecord: Sendable, Equatable {
    /// Lower-case hexadecimal; unique.
    public let serial: String
    public let id: SPIFFEID
    public let podUID: String?
    public let node: NodeName?
    public let notAfter: Date
    public let authority: AuthorityID
    public let issuedAt: Date

    public init(
        serial: String,
        id: SPIFFEID,
        podUID: String?,
        node: NodeName?,
        notAfter: Date,
        authority: AuthorityID,
        issuedAt: Date
    ) {
        self.serial = serial
        self.id = id
        self.podUID = podUID
        self.node = node
        self.notAfter = notAfter
        self.authority = authority
        self.issuedAt = issuedAt
    }
}
