import Crypto
import FoundationEssentials
import SwiftASN1
import X509

extension TrustBundle {
    /// Reads a JWK set with the SPIFFE members (SPIFFE Trust Domain and Bundle section 4).
    ///
    /// Entries for other uses and of unknown key types are skipped, as the standard asks. An entry that says it is an
    /// authority but cannot be read is an error: trusting only a part of what was published would look like a
    /// revocation.
    public init(trustDomain: TrustDomain, jwks: some Collection<UInt8>) throws(TrustBundleError) {
        let document: JSONDocument
        do { document = try JSONDocument.read(jwks) } catch { throw .json("\(error)") }
        try self.init(trustDomain: trustDomain, document: document)
    }

    init(trustDomain: TrustDomain, document: JSONDocument) throws(TrustBundleError) {
        guard case .array(let keys)? = document["keys"] else { throw .missingKeys }
        var authorities: [Certificate] = []
        for (index, key) in keys.enumerated() {
            do {
                if let authority = try Self.authority(key) { authorities.append(authority) }
            } catch {
                throw .entry(position: index + 1, problem: error.problem)
            }
        }
        try self.init(
            trustDomain: trustDomain, authorities: authorities,
            sequence: try Self.count(document, "spiffe_sequence") ?? 0,
            refreshHint: try Self.count(document, "spiffe_refresh_hint").map { Int(clamping: $0) })
    }

    /// One line; `kid` is never written (an authority's entry must not have one).
    public func jwks() -> String {
        "{\(sequenceMember),\(hintMember)\(keysMember)}"
    }

    /// As it stands inside a bundle map, where the refresh hint is left out.
    func jwksWithoutHint() -> String {
        "{\(sequenceMember),\(keysMember)}"
    }

    private var sequenceMember: String { "\"spiffe_sequence\":\(sequence)" }
    private var hintMember: String { refreshHint.map { "\"spiffe_refresh_hint\":\($0)," } ?? "" }
    private var keysMember: String { "\"keys\":[\(authorities.map(Self.entry).joined(separator: ","))]" }

    /// Base64 and the member names need no escaping.
    private static func entry(_ authority: Certificate) -> String {
        let key = JWKParameters(authority.publicKey).members.map { ",\"\($0)\":\"\($1)\"" }.joined()
        let certificate = Data(authority.der()).base64EncodedString()
        return "{\"use\":\"x509-svid\"\(key),\"x5c\":[\"\(certificate)\"]}"
    }

    private static func count(_ document: JSONDocument, _ name: String) throws(TrustBundleError) -> UInt64? {
        guard let member = document[name] else { return nil }
        guard case .number(let text) = member, let value = UInt64(text), value <= UInt64(Int64.max) else {
            throw .member(name, expected: "a whole number from 0 to 2^63-1")
        }
        return value
    }

    private struct EntryError: Error {
        let problem: String
    }

    /// `nil` for an entry that is to be skipped.
    private static func authority(_ entry: JSONDocument) throws(EntryError) -> Certificate? {
        guard case .object = entry else { throw EntryError(problem: "not an object") }
        guard let kty = entry["kty"]?.string, JWKParameters.keyTypes.contains(kty), let use = entry["use"]?.string
        else {
            return nil
        }
        guard use == "x509-svid" else {
            if use == "jwt-svid" || use == "wit-svid", (entry["kid"]?.string ?? "").isEmpty {
                throw EntryError(problem: "a \(use) key has no \"kid\"")
            }
            return nil
        }
        guard let chain = entry["x5c"] else { return nil }
        guard case .array(let certificates) = chain else { throw EntryError(problem: "\"x5c\" is not an array") }
        guard let first = certificates.first else { return nil }
        guard let text = first.string, let der = Data(base64Encoded: text),
            let certificate = try? Certificate(derEncoded: Array(der))
        else { throw EntryError(problem: "\"x5c\" does not hold a certificate in base64 (not base64url, not PEM)") }
        for (name, value) in JWKParameters(certificate.publicKey).members {
            guard let stated = entry[name] else { continue }
            guard stated.string == value else {
                throw EntryError(problem: "\"\(name)\" contradicts the certificate in \"x5c\"")
            }
        }
        return certificate
    }
}

/// A public key's JWK members (RFC 7518 section 6, RFC 8037 section 2), in the order they are written.
private struct JWKParameters {
    static let keyTypes: Set<String> = ["EC", "RSA", "OKP"]

    let members: [(name: String, value: String)]

    init(_ key: Certificate.PublicKey) {
        let point = key.subjectPublicKeyInfoBytes
        switch PublicKeyKind(key) {
        case .p256: members = Self.curve("P-256", point)
        case .p384: members = Self.curve("P-384", point)
        case .p521: members = Self.curve("P-521", point)
        case .ed25519: members = [("kty", "OKP"), ("crv", "Ed25519"), ("x", Self.base64URL(point))]
        case .rsa, .unknown:
            let numbers = RSAPublicNumbers(key)
            members = [
                ("kty", "RSA"), ("n", Self.base64URL(numbers?.modulus ?? [])),
                ("e", Self.base64URL(numbers?.exponent ?? [])),
            ]
        }
    }

    /// An uncompressed point is `04`, then both coordinates at full width.
    private static func curve(_ name: String, _ point: ArraySlice<UInt8>) -> [(name: String, value: String)] {
        let coordinates = point.dropFirst()
        let width = coordinates.count / 2
        return [
            ("kty", "EC"), ("crv", name), ("x", base64URL(coordinates.prefix(width))),
            ("y", base64URL(coordinates.suffix(width))),
        ]
    }

    private static func base64URL(_ bytes: some Collection<UInt8>) -> String {
        String(
            Data(bytes).base64EncodedString().compactMap { character in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }
}
