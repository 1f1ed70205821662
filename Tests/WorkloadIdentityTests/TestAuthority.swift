import Crypto
import FoundationEssentials
import SPIFFE
import Synchronization
import X509

/// A root that signs what a test asks for, right or wrong.
struct TestAuthority: Sendable {
    let trustDomain: TrustDomain
    let root: Certificate
    private let key: Certificate.PrivateKey

    init(now: Date, trustDomain: String = "td") throws {
        self.trustDomain = try TrustDomain(trustDomain)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let name = try DistinguishedName { CommonName("Test Root") }
        self.key = key
        root = try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: key.publicKey,
            notValidBefore: now.addingTimeInterval(-86400),
            notValidAfter: now.addingTimeInterval(365 * 86400),
            issuer: name,
            subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: key.publicKey)
            },
            issuerPrivateKey: key
        )
    }

    var bundles: TrustBundleSet {
        get throws { TrustBundleSet([try TrustBundle(trustDomain: trustDomain, authorities: [root])]) }
    }

    func leaf(
        _ uri: String, key publicKey: Certificate.PublicKey, notBefore: Date, notAfter: Date
    ) throws -> Certificate {
        try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: publicKey,
            notValidBefore: notBefore,
            notValidAfter: notAfter,
            issuer: root.subject,
            subject: DistinguishedName { OrganizationName("Test") },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([.uniformResourceIdentifier(uri)])
                SubjectKeyIdentifier(hash: publicKey)
                AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: root.publicKey).keyIdentifier)
            },
            issuerPrivateKey: key
        )
    }
}

/// An issuer that answers as scripted, then as it should.
final class ScriptedIssuer: SVIDIssuer {
    enum Answer: Sendable {
        case fail(IssuanceError)
        case otherIdentity
        case otherKey
        case good(lifetime: TimeInterval)
    }

    private struct State {
        var script: [Answer]
        var requests: [String] = []
        var underWay = 0
        var mostUnderWay = 0
    }

    private let authority: TestAuthority
    private let now: @Sendable () -> Date
    private let state: Mutex<State>

    init(_ authority: TestAuthority, now: @escaping @Sendable () -> Date, script: [Answer] = []) {
        self.authority = authority
        self.now = now
        state = Mutex(State(script: script))
    }

    var requests: [String] { state.withLock { $0.requests } }
    var mostUnderWay: Int { state.withLock { $0.mostUnderWay } }

    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate] {
        let answer = state.withLock { state in
            state.requests.append("\(podUID) \(identity.path)")
            state.underWay += 1
            state.mostUnderWay = max(state.mostUnderWay, state.underWay)
            return state.script.isEmpty ? .good(lifetime: 3600) : state.script.removeFirst()
        }
        defer { state.withLock { $0.underWay -= 1 } }
        for _ in 0..<10 { await Task.yield() }
        do {
            switch answer {
            case .fail(let error): throw error
            case .otherIdentity: return [try leaf("spiffe://td/ns/shop/sa/other", csr.publicKey, 3600)]
            case .otherKey:
                let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
                return [try leaf(identity.description, key.publicKey, 3600)]
            case .good(let lifetime): return [try leaf(identity.description, csr.publicKey, lifetime)]
            }
        } catch let error as IssuanceError {
            throw error
        } catch {
            throw IssuanceError(.unreachable, "\(error)")
        }
    }

    private func leaf(_ uri: String, _ key: Certificate.PublicKey, _ lifetime: TimeInterval) throws -> Certificate {
        try authority.leaf(
            uri, key: key, notBefore: now().addingTimeInterval(-120), notAfter: now().addingTimeInterval(lifetime))
    }
}
