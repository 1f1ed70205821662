import Crypto
import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import culvert

@Suite("By which roots a node recognises its authority")
struct NodeTrustTests {
    private static let domain: TrustDomain = {
        do { return try TrustDomain("td.test") } catch { fatalError("\(error)") }
    }()

    private static func root(_ name: String, days: Double = 30) throws -> Certificate {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let subject = try DistinguishedName { CommonName(name) }
        return try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date() - 60,
            notValidAfter: Date() + days * 86400, issuer: subject, subject: subject,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
            },
            issuerPrivateKey: key)
    }

    private static func bundle(_ roots: [Certificate], _ sequence: UInt64 = 0) throws -> TrustBundle {
        try TrustBundle(trustDomain: domain, authorities: roots, sequence: sequence)
    }

    private let (first, second, third): (Certificate, Certificate, Certificate)

    init() throws {
        (first, second, third) = (try Self.root("first"), try Self.root("second"), try Self.root("third"))
    }

    private func recognised(_ trust: NodeTrust) throws -> Set<Certificate> { Set(try trust.forAuthority.authorities) }

    @Test("by the operator's file alone, before the authority has sent anything")
    func beginning() throws {
        let trust = NodeTrust(file: try Self.bundle([first]))
        #expect(try recognised(trust) == [first])
        #expect(trust.forPeers.authorities == [first])
    }

    @Test("by what it sent last, and peers by nothing else")
    func received() throws {
        var trust = NodeTrust(file: try Self.bundle([first]))
        #expect(trust.accept(try Self.bundle([first, second], 2)) == .accepted)
        #expect(try recognised(trust) == [first, second])
        #expect(trust.forPeers.sequence == 2)
    }

    @Test("not by a root that it has withdrawn, though the file still names it")
    func withdrawn() throws {
        var trust = NodeTrust(file: try Self.bundle([first]))
        _ = trust.accept(try Self.bundle([first, second], 2))
        #expect(trust.accept(try Self.bundle([second], 3)) == .accepted)
        #expect(try recognised(trust) == [second])
        trust.file = try Self.bundle([first, third])
        #expect(try recognised(trust) == [second, third])
        #expect(trust.forPeers.authorities == [second])
    }

    @Test("by a newer file, when the root was replaced while the node was away")
    func newerFile() throws {
        var trust = NodeTrust(file: try Self.bundle([first]), received: try Self.bundle([first], 1))
        trust.file = try Self.bundle([second])
        #expect(try recognised(trust) == [first, second])
        // The authority then says itself what holds; nothing in common with the past.
        #expect(trust.accept(try Self.bundle([second], 5)) == .startsOver)
        #expect(trust.forPeers.authorities == [second])
        #expect(trust.withdrawn == [first])
    }

    @Test("also by an authority that starts over, counting from one")
    func startsOver() throws {
        var trust = NodeTrust(file: try Self.bundle([second]), received: try Self.bundle([first], 9))
        #expect(trust.accept(try Self.bundle([second], 1)) == .startsOver)
        #expect(trust.forPeers.sequence == 1)
    }

    @Test("an old copy is refused, and other content under the same number")
    func refused() throws {
        var trust = NodeTrust(file: try Self.bundle([first]), received: try Self.bundle([first, second], 4))
        let before = trust
        #expect(trust.accept(try Self.bundle([first], 3)) == .refused)
        #expect(trust.accept(try Self.bundle([first], 4)) == .refused)
        #expect(trust == before)
        #expect(trust.accept(try Self.bundle([second, first], 4)) == .accepted)
    }

    /// An SVID of the node's, right under a root whose key is known.
    private static func svid() throws -> (X509SVID, Certificate) {
        let (rootKey, key) = (P256.Signing.PrivateKey(), Certificate.PrivateKey(P256.Signing.PrivateKey()))
        let issuer = Certificate.PrivateKey(rootKey)
        let name = try DistinguishedName { CommonName("the node's root") }
        let root = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: issuer.publicKey, notValidBefore: Date() - 60,
            notValidAfter: Date() + 86400, issuer: name, subject: name,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true))
                SubjectKeyIdentifier(hash: issuer.publicKey)
                SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(domain)")])
            }, issuerPrivateKey: issuer)
        let leaf = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date() - 60,
            notValidAfter: Date() + 3600, issuer: name, subject: DistinguishedName(),
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: issuer.publicKey).keyIdentifier)
                Critical(SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(domain)/culvert/node/a")]))
            }, issuerPrivateKey: issuer)
        return (try X509SVID(certificates: [leaf], privateKey: key), root)
    }

    @Test("a node knows that it is disowned when its root was withdrawn, or a newer file does not have it; not before")
    func disowned() throws {
        let (svid, own) = try Self.svid()
        func disowned(_ file: [Certificate], _ received: [Certificate]?, _ withdrawn: [Certificate] = []) throws -> Bool
        {
            try NodeTrust(
                file: Self.bundle(file), received: received.map { try Self.bundle($0, 1) }, withdrawn: withdrawn
            ).disowns(svid, now: Date())
        }
        #expect(try !disowned([own], nil))
        #expect(try !disowned([own], [own]))
        // The authority has sent what the file does not have yet, as after a rotation that nobody missed.
        #expect(try !disowned([first], [first, own]))
        #expect(try !disowned([own, second], [own]))
        #expect(try disowned([second], [own]))
        #expect(try disowned([second], nil))
        #expect(try disowned([own], [second], [own]))
        // An old certificate is not for that reason another authority's.
        let trust = NodeTrust(file: try Self.bundle([own]))
        #expect(!trust.disowns(svid, now: Date() + 7200))
        #expect(
            try NodeTrust(file: Self.bundle([own]), received: Self.bundle([second], 1), withdrawn: [own]).withdrawnKeys
                == [own.keyIdentifier])
        #expect(
            try NodeTrust(file: Self.bundle([own]), received: Self.bundle([own], 1), withdrawn: [own]).withdrawnKeys
                .isEmpty)
    }

    @Test("a root that the authority publishes again is no longer withdrawn")
    func returned() throws {
        var trust = NodeTrust(
            file: try Self.bundle([first]), received: try Self.bundle([second], 3), withdrawn: [first])
        #expect(try recognised(trust) == [second])
        _ = trust.accept(try Self.bundle([first, second], 4))
        #expect(try recognised(trust) == [first, second])
        #expect(trust.withdrawn.isEmpty)
    }

    @Test("withdrawn roots are bounded; those that end first are forgotten first")
    func bound() throws {
        let ended = try Self.root("ended", days: -0.0001)
        var old = [ended]
        for number in 0..<NodeTrust.withdrawnMax { old.append(try Self.root("old \(number)")) }
        var trust = NodeTrust(
            file: try Self.bundle([ended]), received: try Self.bundle([ended, second], 1),
            withdrawn: Array(old.dropFirst()))
        _ = trust.accept(try Self.bundle([second], 2))
        #expect(trust.withdrawn.count == NodeTrust.withdrawnMax)
        #expect(!trust.withdrawn.contains(ended))
    }
}
