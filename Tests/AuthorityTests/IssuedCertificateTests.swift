import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

@testable import Authority

/// The issue side of spire.md 1.8: rules I1 to I9 and I14 over a certificate that was really issued.
@Suite struct IssuedCertificateTests {
    struct Rule: CustomTestStringConvertible, Sendable {
        let id: String
        let holds: @Sendable (Subject) throws -> Bool
        var testDescription: String { id }
    }

    struct Subject: Sendable {
        let leaf: Certificate
        let issuer: Certificate
        let now: Date
    }

    static let rules: [Rule] = [
        Rule(id: "I1 exactly one URI name, the SPIFFE ID, and no other name") { subject in
            let names = try #require(try subject.leaf.extensions.subjectAlternativeNames)
            return Array(names) == [.uniformResourceIdentifier("spiffe://culvert.test/ns/shop/sa/web")]
        },
        Rule(id: "I2 key usage is critical and digitalSignature alone") { subject in
            let usage = try #require(try subject.leaf.extensions.keyUsage)
            return usage == KeyUsage(digitalSignature: true)
                && subject.leaf.extensions[oid: .X509ExtensionID.keyUsage]?.critical == true
        },
        Rule(id: "I3 extended key usage is serverAuth and clientAuth") { subject in
            let usages = try #require(try subject.leaf.extensions.extendedKeyUsage)
            return Set(usages) == [.serverAuth, .clientAuth]
        },
        Rule(id: "I4 basic constraints say that it is no CA, critically") { subject in
            let constraints = try #require(try subject.leaf.extensions.basicConstraints)
            return constraints == .notCertificateAuthority
                && subject.leaf.extensions[oid: .X509ExtensionID.basicConstraints]?.critical == true
        },
        Rule(id: "I5 the serial number is positive and has at most 16 octets") { subject in
            let bytes = subject.leaf.serialNumber.bytes
            return bytes.contains { $0 != 0 } && bytes.count <= 16 && (bytes.count < 16 || bytes.first! < 0x80)
        },
        Rule(id: "I6 the authority key identifier is the issuer's subject key identifier") { subject in
            let named = try #require(try subject.leaf.extensions.authorityKeyIdentifier?.keyIdentifier)
            return try named == subject.issuer.extensions.subjectKeyIdentifier?.keyIdentifier
        },
        Rule(id: "I7 it ends no later than its issuer") { $0.leaf.notValidAfter <= $0.issuer.notValidAfter },
        Rule(id: "I8 it begins 120 s before it was made") {
            $0.leaf.notValidBefore == $0.now.advanced(by: .seconds(-120))
        },
        Rule(id: "I9 names are critical exactly if the subject is empty") { subject in
            let names = try #require(subject.leaf.extensions[oid: .X509ExtensionID.subjectAlternativeName])
            return names.critical == subject.leaf.subject.isEmpty
        },
        Rule(id: "the whole profile") { subject in
            SVIDProfile.violations(leaf: subject.leaf, issuer: subject.issuer).isEmpty
        },
    ]

    @Test("an issued leaf keeps", arguments: rules)
    func leaf(rule: Rule) async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID()
        let subject = Subject(leaf: svid.certificates[0], issuer: svid.certificates[1], now: fixture.clock.now)
        #expect(try rule.holds(subject))
    }

    @Test("serial numbers never repeat")
    func serialNumbers() {
        // 10^4 and not the list's 10^6: signing would take minutes, and with 127 random bits neither number could show a defect of
        // chance; what can be seen, a serial number that is constant, counted or cut short, shows in far fewer.
        var seen: Set<String> = []
        for _ in 0..<10_000 {
            seen.insert(hexadecimal(CertificateProfile.serialNumber(systemRandomBytes).bytes))
        }
        #expect(seen.count == 10_000)
    }

    @Test("serial numbers stay positive whatever the generator gives", arguments: [UInt8(0), 0x7f, 0x80, 0xff])
    func serialNumberBits(byte: UInt8) {
        let serial = CertificateProfile.serialNumber { [UInt8](repeating: byte, count: $0) }
        #expect(serial.bytes.contains { $0 != 0 })
        #expect(serial.bytes.count <= 16)
        #expect(serial.bytes.count < 16 || serial.bytes.first! < 0x80)
    }

    @Test("the store refuses a serial number that it has seen, and nothing is issued")
    func repeatedSerialNumber() async throws {
        let directory = TemporaryDirectory()
        let home = try AuthorityDirectory(path: directory.path)
        // A broken generator: after start-up every serial number is the same.
        let stuck: RandomBytes = { [UInt8](repeating: 7, count: $0) }
        let authority = try await CertificateAuthority.open(
            .init(trustDomain: AuthorityFixture.trustDomain), store: home.store, seal: home.seal, pods: PodTable(),
            random: stuck)
        _ = try await authority.servingIdentity()
        await #expect(throws: Denial.self) { try await authority.servingIdentity() }
        #expect(try await home.store.issuances(limit: 10).count == 1)
    }

    @Test("I14 times are UTCTime through 2049 and GeneralizedTime from 2050")
    func encodingOfTimes() async throws {
        // Half an hour before 2050: the leaf begins on one side and ends on the other.
        let fixture = try await AuthorityFixture(clock: TestClock(Date(timeIntervalSince1970: 2_524_606_200)))
        let leaf = try await fixture.webSVID().certificates[0]
        let times = try DER.sequence(DER.parse(leaf.tbsCertificateBytes), identifier: .sequence) { nodes in
            var validity: ASN1Node?
            for _ in 0..<5 { validity = nodes.next() }
            while nodes.next() != nil {}
            return try DER.sequence(try #require(validity), identifier: .sequence) { times in
                [times.next(), times.next()].map { $0?.identifier }
            }
        }
        #expect(times == [.utcTime, .generalizedTime])
    }

    @Test("authorities carry the trust domain's ID, critical constraints, and a subject of their own")
    func authorities() async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID()
        let (root, intermediate) = (fixture.root, svid.certificates[1])
        for (certificate, pathLength) in [(root, 1), (intermediate, 0)] {
            #expect(try certificate.extensions.basicConstraints == .isCertificateAuthority(maxPathLength: pathLength))
            #expect(try certificate.extensions.keyUsage == KeyUsage(keyCertSign: true, cRLSign: true))
            #expect(try certificate.spiffeID() == AuthorityFixture.trustDomain.id)
            #expect(SVIDLint.findings(for: certificate, kind: .authority).allSatisfy { $0.severity != .fail })
            #expect(try certificate.extensions.authorityKeyIdentifier?.keyIdentifier != nil)
        }
        #expect(root.subject != intermediate.subject)
        let other = try await AuthorityFixture()
        #expect(other.root.subject != root.subject)
    }

    @Test("verifiers that know the root accept the chain in both roles")
    func verifies() async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID()
        let verifier = PeerVerifier(bundles: fixture.bundles)
        for role in PeerVerifier.Role.allCases {
            let verdict = verifier.verify(
                chainDER: svid.certificates.map { $0.der() }, role: role, now: fixture.clock.now)
            guard case .verified(let peer) = verdict else {
                Issue.record("refused: \(verdict)")
                continue
            }
            #expect(peer.id == svid.id)
        }
    }
}
