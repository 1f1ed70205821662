internal import Crypto
internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// The stand-in's own authority: the server's certificate, the administrator's, and any other client's.
final class Credentials: Sendable {
    struct Pair: Sendable {
        /// PEM.
        let certificate: String
        let key: String
    }

    /// The root in PEM: `certificate-authority-data`.
    let root: String
    let server: Pair
    private let key: Certificate.PrivateKey
    private let name: DistinguishedName

    /// - Parameter hosts: names and IPv4 addresses that the server is reached by.
    init(hosts: [String]) throws {
        key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        name = try DistinguishedName { CommonName("kubernetes") }
        let root = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Self.begin,
            notValidAfter: Self.end, issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try .init {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(digitalSignature: true, keyCertSign: true))
            }, issuerPrivateKey: key)
        self.root = try root.serializeAsPEM().pemString
        let serverKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let alternatives = hosts.map { host -> GeneralName in
            let octets = host.split(separator: ".").compactMap { UInt8($0) }
            return octets.count == 4 ? .ipAddress(ASN1OctetString(contentBytes: octets[...])) : .dnsName(host)
        }
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: serverKey.publicKey, notValidBefore: Self.begin,
            notValidAfter: Self.end, issuer: name, subject: try DistinguishedName { CommonName("kube-apiserver") },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try .init {
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(alternatives)
            }, issuerPrivateKey: key)
        server = Pair(
            certificate: try certificate.serializeAsPEM().pemString, key: try serverKey.serializeAsPEM().pemString)
    }

    /// A client certificate: the user is its common name, the groups are its organisations.
    func client(user: String, groups: [String]) throws -> Pair {
        let clientKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let subject = try DistinguishedName {
            for group in groups { OrganizationName(group) }
            CommonName(user)
        }
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: clientKey.publicKey, notValidBefore: Self.begin,
            notValidAfter: Self.end, issuer: name, subject: subject, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try .init {
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.clientAuth])
            }, issuerPrivateKey: key)
        return Pair(
            certificate: try certificate.serializeAsPEM().pemString, key: try clientKey.serializeAsPEM().pemString)
    }

    /// Whose certificate it is. The TLS handshake has verified it already.
    static func user(ofCertificate der: [UInt8]) -> User? {
        guard let certificate = try? Certificate(derEncoded: der) else { return nil }
        var name: String?
        var groups: [String] = []
        for attribute in certificate.subject.flatMap({ Array($0) }) {
            if attribute.type == .RDNAttributeType.commonName { name = attribute.value.description }
            if attribute.type == .RDNAttributeType.organizationName { groups.append(attribute.value.description) }
        }
        return name.map { User(name: $0, groups: groups + ["system:authenticated"]) }
    }

    private static let begin = Date(timeIntervalSinceNow: -3600)
    private static let end = Date(timeIntervalSinceNow: 365 * 86_400)
}
