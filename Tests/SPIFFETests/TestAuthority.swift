import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import X509

/// A day in 2027 on which every test certificate without another plan is valid.
let testNow = Date(timeIntervalSince1970: 1_800_000_000)

/// What a test certificate says. Begins as a good one; a test changes one thing and so names the flaw.
struct CertificatePlan {
    var subject: String?
    var names: [GeneralName] = []
    var namesCritical: Bool?
    var constraints: BasicConstraints? = .notCertificateAuthority
    var usage: KeyUsage? = KeyUsage(digitalSignature: true)
    var usageCritical = true
    var purposes: [ExtendedKeyUsage.Usage]? = [.serverAuth, .clientAuth]
    var nameConstraints: NameConstraints?
    var notBefore = testNow.addingTimeInterval(-3600)
    var notAfter = testNow.addingTimeInterval(3600)
    /// Not the library's random one: it has 20 octets, which need 21 in DER half of the time.
    var serial = Certificate.SerialNumber(UInt64.random(in: 1...UInt64(Int64.max)))
    var key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    var authorityKeyIdentifier: ArraySlice<UInt8>?
    var subjectKeyIdentifier: ArraySlice<UInt8>?
    var unknownCriticalExtension = false

    mutating func uri(_ uris: String...) { names = uris.map { .uniformResourceIdentifier($0) } }

    static func authority(_ subject: String, uri: String) -> CertificatePlan {
        var plan = CertificatePlan()
        plan.subject = subject
        plan.uri(uri)
        plan.constraints = .isCertificateAuthority(maxPathLength: nil)
        plan.usage = KeyUsage(keyCertSign: true, cRLSign: true)
        plan.purposes = nil
        plan.notBefore = testNow.addingTimeInterval(-7200)
        plan.notAfter = testNow.addingTimeInterval(7200)
        return plan
    }

    func certificate(
        issuer: DistinguishedName?, issuerKey: Certificate.PrivateKey, issuerKeyIdentifier: ArraySlice<UInt8>?
    ) throws -> Certificate {
        let name = try DistinguishedName { if let subject { CommonName(subject) } }
        var extensions = Certificate.Extensions()
        if let constraints { try extensions.append(.init(constraints, critical: true)) }
        if let usage { try extensions.append(.init(usage, critical: usageCritical)) }
        if let purposes { try extensions.append(.init(ExtendedKeyUsage(purposes), critical: false)) }
        if !names.isEmpty {
            try extensions.append(.init(SubjectAlternativeNames(names), critical: namesCritical ?? (subject == nil)))
        }
        if let nameConstraints { try extensions.append(.init(nameConstraints, critical: true)) }
        if let own = subjectKeyIdentifier {
            try extensions.append(.init(SubjectKeyIdentifier(keyIdentifier: own), critical: false))
        }
        if let above = authorityKeyIdentifier ?? issuerKeyIdentifier {
            try extensions.append(.init(AuthorityKeyIdentifier(keyIdentifier: above), critical: false))
        }
        if unknownCriticalExtension {
            try extensions.append(.init(oid: [1, 2, 3, 4, 5], critical: true, value: [0x05, 0x00]))
        }
        return try Certificate(
            version: .v3, serialNumber: serial, publicKey: key.publicKey, notValidBefore: notBefore,
            notValidAfter: notAfter, issuer: issuer ?? name, subject: name, extensions: extensions,
            issuerPrivateKey: issuerKey)
    }
}

/// A certificate with its key, which can sign others.
struct TestAuthority {
    let certificate: Certificate
    let key: Certificate.PrivateKey

    private init(_ certificate: Certificate, _ key: Certificate.PrivateKey) {
        self.certificate = certificate
        self.key = key
    }

    static func root(
        _ trustDomain: String = "td.test", name: String? = nil, _ change: (inout CertificatePlan) -> Void = { _ in }
    ) throws -> TestAuthority {
        var plan = CertificatePlan.authority(name ?? "\(trustDomain) root", uri: "spiffe://\(trustDomain)")
        plan.subjectKeyIdentifier = SubjectKeyIdentifier(hash: plan.key.publicKey).keyIdentifier
        change(&plan)
        return TestAuthority(
            try plan.certificate(issuer: nil, issuerKey: plan.key, issuerKeyIdentifier: nil), plan.key)
    }

    func intermediate(
        _ trustDomain: String = "td.test", name: String? = nil, _ change: (inout CertificatePlan) -> Void = { _ in }
    ) throws -> TestAuthority {
        var plan = CertificatePlan.authority(name ?? "\(trustDomain) intermediate", uri: "spiffe://\(trustDomain)")
        plan.subjectKeyIdentifier = SubjectKeyIdentifier(hash: plan.key.publicKey).keyIdentifier
        change(&plan)
        return TestAuthority(try issue(plan), plan.key)
    }

    func leaf(
        _ uri: String = "spiffe://td.test/ns/shop/sa/web", _ change: (inout CertificatePlan) -> Void = { _ in }
    ) throws -> Certificate {
        try leafAndKey(uri, change).certificate
    }

    func leafAndKey(
        _ uri: String = "spiffe://td.test/ns/shop/sa/web", _ change: (inout CertificatePlan) -> Void = { _ in }
    ) throws -> TestAuthority {
        var plan = CertificatePlan()
        plan.uri(uri)
        change(&plan)
        return TestAuthority(try issue(plan), plan.key)
    }

    /// The same name, key and extensions, as a new certificate: how Istio renews its root.
    func reissued() throws -> TestAuthority {
        try .root(name: name) { plan in
            plan.key = key
            plan.subjectKeyIdentifier = SubjectKeyIdentifier(hash: key.publicKey).keyIdentifier
        }
    }

    private var name: String {
        certificate.subject.first?.first.flatMap { String($0.value) } ?? ""
    }

    private func issue(_ plan: CertificatePlan) throws -> Certificate {
        try plan.certificate(
            issuer: certificate.subject, issuerKey: key,
            issuerKeyIdentifier: certificate.extensions.subjectKeyIdentifier?.keyIdentifier)
    }
}

func bundle(_ trustDomain: String = "td.test", _ authorities: TestAuthority...) throws -> TrustBundle {
    try TrustBundle(trustDomain: TrustDomain(trustDomain), authorities: authorities.map(\.certificate))
}
