import Crypto
import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite struct FederatedBundleTests {
    private static func root(_ name: String = "root") throws -> Certificate {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let subject = try DistinguishedName { CommonName(name) }
        return try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date(),
            notValidAfter: Date().addingTimeInterval(3600), issuer: subject, subject: subject,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true))
            },
            issuerPrivateKey: key)
    }

    private let domain: TrustDomain
    private let first: Certificate
    private let second: Certificate

    init() throws {
        domain = try TrustDomain("other.test")
        first = try Self.root()
        second = try Self.root()
    }

    private func document(_ sequence: UInt64, _ authorities: Certificate..., hint: Int? = 300) throws -> [UInt8] {
        let bundle = try TrustBundle(
            trustDomain: domain, authorities: authorities, sequence: sequence, refreshHint: hint)
        return Array(bundle.jwks().utf8)
    }

    @Test("newer documents are taken; old ones, other content under one number and bad ones change nothing")
    func succession() throws {
        var held = FederatedBundle(domain)
        #expect(held.received(try document(7, first)) == .changed)
        #expect(held.received(try document(7, first)) == .unchanged)
        let steps: [([UInt8], String)] = [
            (try document(6, second), "older"), (try document(7, second), "same sequence"),
            (Array("{}".utf8), "keys"), (Array(#"{"keys":[],"keys":[]}"#.utf8), "twice"), ([], "too early"),
            (Array(#"{"spiffe_sequence":9,"keys":[{"use":"x509-svid","kty":"EC","x5c":["AQID"]}]}"#.utf8), "x5c"),
        ]
        for (document, words) in steps {
            guard case .refused(let reason) = held.received(document) else {
                Issue.record("taken: \(words)")
                continue
            }
            #expect(reason.contains(words), "\(reason)")
            #expect(held.bundle?.authorities == [first])
        }
        #expect(held.received(try document(8, first, second)) == .changed)
        #expect(held.bundle?.authorities == [first, second])
        #expect(held.bundle?.trustDomain == domain)
    }

    @Test("a domain that revokes everything is believed: nobody of it is trusted then")
    func empty() throws {
        var held = FederatedBundle(domain)
        #expect(held.received(try document(1, first)) == .changed)
        #expect(held.received(try document(2)) == .changed)
        #expect(held.bundle?.authorities.isEmpty == true)
    }

    @Test("a publisher without sequence numbers is followed by what it last said")
    func withoutSequence() throws {
        var held = FederatedBundle(domain)
        #expect(held.received(try document(0, first)) == .changed)
        #expect(held.received(try document(0, first)) == .unchanged)
        #expect(held.received(try document(0, second)) == .changed)
        #expect(held.bundle?.authorities == [second])
    }

    @Test("what was kept counts after a restart: an older document does not replace it")
    func kept() throws {
        let bundle = try TrustBundle(trustDomain: domain, authorities: [first], sequence: 9)
        var held = FederatedBundle(domain, kept: bundle)
        guard case .refused = held.received(try document(8, second)) else {
            Issue.record("an older document was taken")
            return
        }
        #expect(held.bundle == bundle)
    }

    @Test("more or larger authorities than all nodes should hold are refused")
    func bounds() throws {
        var held = FederatedBundle(domain)
        let many = try (0...FederatedBundle.authoritiesMax).map { try Self.root("\($0)") }
        let bundle = try TrustBundle(trustDomain: domain, authorities: many, sequence: 1)
        guard case .refused(let count) = held.received(Array(bundle.jwks().utf8)) else {
            Issue.record("too many were taken")
            return
        }
        #expect(count.contains("at most 64"))
        let long = try (0..<8).map { try Self.root("\($0)" + String(repeating: "n", count: 5000)) }
        let large = try TrustBundle(trustDomain: domain, authorities: long, sequence: 1)
        guard case .refused(let bytes) = held.received(Array(large.jwks().utf8)) else {
            Issue.record("too large ones were taken")
            return
        }
        #expect(bytes.contains("at most 65536"))
        #expect(held.bundle == nil)
    }

    @Test(
        "a publisher is asked four times within its hint, within our own bounds",
        arguments: [(nil, 75), (300, 75), (600, 150), (0, 60), (60, 60), (1_000_000, 3600), (Int.max, 3600)])
    func pace(hint: Int?, seconds: Int) throws {
        var held = FederatedBundle(domain)
        #expect(held.received(try document(1, first, hint: hint)) == .changed)
        let pace = FederatedBundle.Pace()
        #expect(held.nextLook(pace, draw: 0.5) == .seconds(seconds))
        #expect(held.nextLook(pace, draw: 0) < .seconds(seconds))
        #expect(held.nextLook(pace, draw: 0.999) > .seconds(seconds))
        held.failed()
        #expect(held.nextLook(pace, draw: 0.5) == .seconds(seconds))
    }

    @Test("until the first document it is asked soon, and then less and less often")
    func backOff() {
        var held = FederatedBundle(domain)
        var waits: [Duration] = []
        for _ in 0..<9 {
            waits.append(held.nextLook(FederatedBundle.Pace(), draw: 0.5))
            held.failed()
        }
        #expect(waits == [1, 2, 4, 8, 16, 32, 64, 75, 75].map { .seconds($0) })
    }
}
