public import FoundationEssentials
public import SPIFFE
import SwiftASN1
import X509

extension Culvert_Authority_V1_Bundle {
    public init(_ bundle: TrustBundle) {
        self.init()
        trustDomain = bundle.trustDomain.name
        sequence = bundle.sequence
        authorities = bundle.authorities.map { Data($0.der()) }
        refreshHintSeconds = bundle.refreshHint.flatMap { UInt32(exactly: $0) } ?? 0
        revocationLists = bundle.revocations.map { Data($0.der) }
    }
}

extension TrustBundle {
    /// `trustDomain` is what the message must say it is about: a bundle speaks for no other.
    public init(_ message: Culvert_Authority_V1_Bundle, of trustDomain: TrustDomain) throws(AuthorityCallError) {
        guard message.trustDomain.utf8.elementsEqual(trustDomain.name.utf8) else {
            throw .invalidAnswer("it holds a bundle that is not of \(trustDomain)")
        }
        guard !message.authorities.isEmpty else { throw .invalidAnswer("it holds a bundle without authorities") }
        try self.init(foreign: message, of: trustDomain)
    }

    /// One without authorities says that its domain has revoked them all. Our own authority would then have none to sign with;
    /// a foreign one may.
    init(foreign message: Culvert_Authority_V1_Bundle, of trustDomain: TrustDomain) throws(AuthorityCallError) {
        guard message.authorities.count <= TrustBundle.maximumAuthorities else {
            throw .invalidAnswer("it holds a bundle of \(message.authorities.count) authorities")
        }
        let authorities = try [Certificate](authorityAnswer: message.authorities)
        guard message.revocationLists.count <= TrustBundle.maximumRevocationLists else {
            throw .invalidAnswer("it holds \(message.revocationLists.count) revocation lists")
        }
        var revocations: [RevocationList] = []
        for (index, der) in message.revocationLists.enumerated() {
            do {
                revocations.append(try RevocationList(derEncoded: Array<UInt8>(der)))
            } catch {
                throw .invalidAnswer("revocation list \(index + 1) of it: \(error)")
            }
        }
        do {
            try self.init(
                trustDomain: trustDomain, authorities: authorities, revocations: revocations,
                sequence: message.sequence,
                refreshHint: message.refreshHintSeconds == 0 ? nil : Int(message.refreshHintSeconds))
        } catch {
            throw .invalidAnswer("\(error)")
        }
    }
}

extension [Certificate] {
    static let answerCertificatesMax = 8

    /// A chain, leaf first.
    init(chain: [Data]) throws(AuthorityCallError) {
        guard (1...Self.answerCertificatesMax).contains(chain.count) else {
            throw .invalidAnswer("it holds a chain of \(chain.count) certificates")
        }
        try self.init(authorityAnswer: chain)
    }

    fileprivate init(authorityAnswer: [Data]) throws(AuthorityCallError) {
        self = []
        for (index, der) in authorityAnswer.enumerated() {
            guard let certificate = try? Certificate(derEncoded: Array<UInt8>(der)) else {
                throw .invalidAnswer("certificate \(index + 1) of it cannot be decoded")
            }
            append(certificate)
        }
    }
}

/// What a node tells the authority of itself: the bundle it verifies peers with, and what it has that depends on which authority.
public struct BundleReport: Hashable, Sendable {
    public struct Leaves: Hashable, Sendable {
        /// Lower-case hexadecimal subject key identifier: of the signer for leaves, of the root for connections.
        public let authorityID: String
        public var count: Int
        /// nil without leaves.
        public var oldestExpiry: Date?
        public var connections: Int

        public init(authorityID: String, count: Int = 0, oldestExpiry: Date? = nil, connections: Int = 0) {
            self.authorityID = authorityID
            self.count = count
            self.oldestExpiry = oldestExpiry
            self.connections = connections
        }
    }

    /// 0: none yet.
    public var sequence: UInt64
    /// Of the node's software.
    public var version: String
    public var leaves: [Leaves]

    public init(sequence: UInt64, version: String, leaves: [Leaves]) {
        self.sequence = sequence
        self.version = version
        self.leaves = leaves
    }
}

extension Culvert_Authority_V1_BundleAcknowledgement {
    public init(_ report: BundleReport) {
        self.init()
        sequence = report.sequence
        version = report.version
        leaves = report.leaves.map { leaves in
            var message = Culvert_Authority_V1_AuthorityLeaves()
            message.authorityID = leaves.authorityID
            message.count = UInt32(clamping: leaves.count)
            message.oldestExpiry = leaves.oldestExpiry?.wire ?? 0
            message.connections = UInt32(clamping: leaves.connections)
            return message
        }
    }
}

extension BundleReport {
    static let leavesMax = 256
    static let textBytesMax = 128

    /// From a node; what is beyond the bounds is cut off.
    public init(_ message: Culvert_Authority_V1_BundleAcknowledgement) {
        sequence = message.sequence
        version = message.version.shortened(to: Self.textBytesMax)
        leaves = message.leaves.prefix(Self.leavesMax).map { leaves in
            Leaves(
                authorityID: leaves.authorityID.shortened(to: Self.textBytesMax), count: Int(leaves.count),
                oldestExpiry: leaves.count == 0 ? nil : Date(wire: leaves.oldestExpiry),
                connections: Int(leaves.connections))
        }
    }
}
