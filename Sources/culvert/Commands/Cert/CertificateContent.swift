import SPIFFE
import SwiftASN1
import X509

/// What was found in one file, in its order.
struct CertificateContent: Sendable {
    enum Item: Sendable {
        case certificate(Certificate)
        case request(CertificateSigningRequest)
    }

    struct Found: Sendable {
        let item: Item
        /// Of the PEM block; `nil` for DER and JWKS.
        let line: Int?
    }

    var found: [Found] = []
    /// What a JWKS says beside its certificates.
    var bundles: [JWKSReport] = []
    /// Blocks that are neither certificate nor request, by label.
    var others: [String] = []
    var problems: [CertificateProblem] = []

    var certificates: [Certificate] {
        found.compactMap { entry in
            if case .certificate(let certificate) = entry.item { certificate } else { nil }
        }
    }

    /// PEM, a JWKS or DER, by its first bytes.
    init(_ source: CertificateSource) {
        if Self.contains(source.bytes, "-----BEGIN ") {
            readPEM(source)
        } else if source.bytes.first(where: { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }) == UInt8(ascii: "{") {
            readBundle(source)
        } else if source.bytes.first == 0x30 {
            readDER(source)
        }
    }

    /// What a server showed.
    init(chainDER: [[UInt8]], of server: String) {
        for (index, der) in chainDER.enumerated() {
            if let certificate = try? Certificate(derEncoded: der) {
                found.append(Found(item: .certificate(certificate), line: nil))
            } else {
                problems.append(Self.undecodable(server, "certificate \(index + 1)"))
            }
        }
    }

    private mutating func readPEM(_ source: CertificateSource) {
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(source.bytes) } catch {
            problems.append(
                CertificateProblem(
                    file: source.name, message: "\(error)", hint: "look at that line; the file may be cut off"))
            return
        }
        for block in blocks {
            let item: Item?
            switch block.label {
            case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
                item = (try? Certificate(derEncoded: block.der)).map(Item.certificate)
            case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
                item = (try? CertificateSigningRequest(derEncoded: block.der)).map(Item.request)
            default:
                others.append(block.label)
                continue
            }
            if let item {
                found.append(Found(item: item, line: block.line))
            } else {
                problems.append(Self.undecodable(source.name, "the \(block.label.lowercased()) on line \(block.line)"))
            }
        }
    }

    private mutating func readDER(_ source: CertificateSource) {
        if let certificate = try? Certificate(derEncoded: source.bytes) {
            found.append(Found(item: .certificate(certificate), line: nil))
        } else if let request = try? CertificateSigningRequest(derEncoded: source.bytes) {
            found.append(Found(item: .request(request), line: nil))
        } else {
            problems.append(Self.undecodable(source.name, "the DER in it"))
        }
    }

    private mutating func readBundle(_ source: CertificateSource) {
        do {
            for named in try Self.bundles(source.bytes) {
                bundles.append(JWKSReport(named.bundle, of: named.name, in: source.name))
                found += named.bundle.authorities.map { Found(item: .certificate($0), line: nil) }
            }
        } catch {
            problems.append(
                CertificateProblem(
                    file: source.name, message: "\(error)",
                    hint: "JSON is read as a SPIFFE bundle (JWKS) or as a map of such only"))
        }
    }

    private struct NamedBundle {
        let name: String?
        let bundle: TrustBundle
    }

    /// One bundle, which does not say whose it is; or a map of them, in the order of its names.
    private static func bundles(_ bytes: [UInt8]) throws -> [NamedBundle] {
        // A name is needed to make one; nothing is verified with it.
        let unnamed = try TrustDomain("unnamed")
        let single = Result { try TrustBundle(trustDomain: unnamed, jwks: bytes) }
        let map = Result { try TrustBundleSet(bundleMap: bytes) }
        switch (single, map) {
        case (.success(let bundle), _): return [NamedBundle(name: nil, bundle: bundle)]
        case (.failure, .success(let map)):
            return map.bundles.sorted { $0.key < $1.key }.map { NamedBundle(name: $0.key.name, bundle: $0.value) }
        case (.failure(let error), .failure(let mapError)):
            if case .member("trust_domains", _)? = mapError as? TrustBundleError { throw error }
            if error as? TrustBundleError != .missingKeys { throw error }
            throw mapError
        }
    }

    private static func undecodable(_ file: String, _ what: String) -> CertificateProblem {
        CertificateProblem(
            file: file, message: "\(what) cannot be decoded as certificate or signing request",
            hint: "it may be damaged, or its key is none of P-256, P-384, P-521, Ed25519 and RSA 2048 or more; "
                + "PKCS #7 and PKCS #12 are not read"
        )
    }

    private static func contains(_ bytes: [UInt8], _ text: String) -> Bool {
        let wanted = Array(text.utf8)
        guard bytes.count >= wanted.count else { return false }
        return (0...(bytes.count - wanted.count)).contains { start in
            bytes[start] == wanted[0] && bytes[start..<(start + wanted.count)].elementsEqual(wanted)
        }
    }
}
