import FoundationEssentials
import SwiftASN1
import X509

extension RevocationList {
    /// Reads one list (RFC 5280 section 5.1), version 1 or 2, with nothing behind it.
    public init(derEncoded der: [UInt8]) throws(RevocationListError) {
        guard der.count <= Self.bytesMax else { throw .tooLarge(bytes: der.count) }
        let parts: RevocationListParts
        do {
            parts = try RevocationListParts(DER.parse(der))
        } catch let error as RevocationListError {
            throw error
        } catch {
            throw .malformed("\((error as? ASN1Error).map { "\($0.code)" } ?? "unreadable")")
        }
        self.der = der
        issuer = parts.issuer
        thisUpdate = parts.thisUpdate
        nextUpdate = parts.nextUpdate
        number = parts.number
        entries = parts.entries
        authorityKeyIdentifier = parts.authorityKeyIdentifier
        algorithm = parts.algorithm
        signed = parts.signed
        signature = parts.signature
    }

    /// Reads the lists of a PEM text, or the one list that the bytes are in DER. None is an empty text; anything else is an error.
    public static func read(_ bytes: [UInt8]) throws(RevocationListFileError) -> [RevocationList] {
        if bytes.first == 0x30 {
            do { return [try RevocationList(derEncoded: bytes)] } catch { throw .list(position: 1, error) }
        }
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(bytes) } catch { throw .pem(error) }
        guard !blocks.isEmpty || bytes.allSatisfy({ [0x20, 0x09, 0x0a, 0x0d].contains($0) }) else { throw .noList }
        var lists: [RevocationList] = []
        for block in blocks {
            guard block.label == "X509 CRL" else { throw .unexpectedBlock(block.label, line: block.line) }
            do {
                lists.append(try RevocationList(derEncoded: block.der))
            } catch {
                throw .list(position: lists.count + 1, error)
            }
        }
        return lists
    }
}

/// Why a file of revocation lists cannot be used.
public enum RevocationListFileError: Error, Hashable, Sendable, CustomStringConvertible {
    case pem(PEMError)
    case noList
    case unexpectedBlock(String, line: Int)
    case list(position: Int, RevocationListError)

    public var description: String {
        switch self {
        case .pem(let error): "\(error)"
        case .noList: "no revocation list; expected \"-----BEGIN X509 CRL-----\""
        case .unexpectedBlock(let label, let line): "line \(line): a \(label) among revocation lists"
        case .list(let position, let error): "list \(position): \(error)"
        }
    }
}

private struct RevocationListParts {
    let signed: ArraySlice<UInt8>
    let algorithm: Certificate.SignatureAlgorithm
    let signature: [UInt8]
    let issuer: DistinguishedName
    let thisUpdate: Date
    let nextUpdate: Date?
    var entries: [[UInt8]: RevocationList.Entry] = [:]
    var number: [UInt8]?
    var authorityKeyIdentifier: [UInt8]?

    private typealias Nodes = ASN1NodeCollection.Iterator

    init(_ list: ASN1Node) throws {
        let (body, outerAlgorithm, signature) = try DER.sequence(list, identifier: .sequence) { nodes in
            guard let body = nodes.next(), let algorithm = nodes.next() else {
                throw RevocationListError.malformed("it ends early")
            }
            return (body, algorithm, try ASN1BitString(derEncoded: &nodes))
        }
        signed = body.encodedBytes
        algorithm = try Self.algorithm(outerAlgorithm)
        guard signature.paddingBits == 0 else { throw RevocationListError.malformed("its signature") }
        self.signature = Array(signature.bytes)
        let content = try DER.sequence(body, identifier: .sequence) { nodes in
            try Self.content(&nodes, signedWith: outerAlgorithm.encodedBytes)
        }
        issuer = content.issuer
        thisUpdate = content.thisUpdate
        nextUpdate = content.nextUpdate
        for entry in content.revoked { try take(entry, isVersion2: content.isVersion2) }
        try take(content.extensions)
    }

    private struct Content {
        var isVersion2: Bool
        var issuer: DistinguishedName
        var thisUpdate: Date
        var nextUpdate: Date?
        var revoked: [ASN1Node] = []
        var extensions: [Certificate.Extension] = []
    }

    private static func content(_ nodes: inout Nodes, signedWith algorithm: ArraySlice<UInt8>) throws -> Content {
        var next = nodes.next()
        var isVersion2 = false
        if let node = next, node.identifier == .integer {
            guard try Int64(derEncoded: node) == 1 else {
                throw RevocationListError.malformed("its version is not 2")
            }
            isVersion2 = true
            next = nodes.next()
        }
        guard let inner = next, inner.encodedBytes.elementsEqual(algorithm) else {
            throw RevocationListError.malformed("it names two signature algorithms")
        }
        guard let name = nodes.next(), let thisUpdate = nodes.next() else {
            throw RevocationListError.malformed("it ends early")
        }
        var content = Content(
            isVersion2: isVersion2, issuer: try DistinguishedName(derEncoded: name),
            thisUpdate: try Date(asn1Time: thisUpdate))
        next = nodes.next()
        if let node = next, node.identifier == .utcTime || node.identifier == .generalizedTime {
            content.nextUpdate = try Date(asn1Time: node)
            next = nodes.next()
        }
        if let node = next, node.identifier == .sequence {
            guard case .constructed(let revoked) = node.content else {
                throw RevocationListError.malformed("its entries")
            }
            for entry in revoked {
                guard content.revoked.count < RevocationList.entriesMax else {
                    throw RevocationListError.tooManyEntries(content.revoked.count + 1)
                }
                content.revoked.append(entry)
            }
            next = nodes.next()
        }
        if let node = next {
            guard isVersion2, node.identifier == ASN1Identifier(tagWithNumber: 0, tagClass: .contextSpecific),
                case .constructed(let wrapped) = node.content
            else { throw RevocationListError.malformed("something follows its entries") }
            var inner = wrapped.makeIterator()
            guard let extensions = inner.next(), inner.next() == nil else {
                throw RevocationListError.malformed("its extensions")
            }
            content.extensions = try Self.extensions(extensions)
        }
        return content
    }

    private static func extensions(_ node: ASN1Node) throws -> [Certificate.Extension] {
        let extensions = try DER.sequence(of: Certificate.Extension.self, identifier: .sequence, rootNode: node)
        guard Set(extensions.map(\.oid)).count == extensions.count else {
            throw RevocationListError.malformed("an extension is there twice")
        }
        return extensions
    }

    private mutating func take(_ node: ASN1Node, isVersion2: Bool) throws {
        let (serial, date, extensions) = try DER.sequence(node, identifier: .sequence) { nodes in
            let serial = try ArraySlice<UInt8>(derEncoded: &nodes, withIdentifier: .integer)
            guard let date = nodes.next() else { throw RevocationListError.malformed("an entry ends early") }
            return (serial, try Date(asn1Time: date), try nodes.next().map(Self.extensions) ?? [])
        }
        guard isVersion2 || extensions.isEmpty else { throw RevocationListError.malformed("extensions in version 1") }
        var reason: RevocationList.Reason?
        for member in extensions {
            switch member.oid {
            case .RevocationList.reasonCode:
                let code = try DER.parse(member.value)
                guard code.identifier == .enumerated, case .primitive(let bytes) = code.content, bytes.count == 1,
                    let value = bytes.first
                else { throw RevocationListError.malformed("a reason code") }
                guard value != 8 else { throw RevocationListError.incomplete("a list of changes") }
                reason = RevocationList.Reason(rawValue: Int(value))
            case .RevocationList.certificateIssuer:
                throw RevocationListError.incomplete("an indirect list")
            default:
                guard !member.critical else { throw RevocationListError.criticalExtension("\(member.oid)") }
            }
        }
        entries[Array(serial.drop { $0 == 0 })] = RevocationList.Entry(date: date, reason: reason)
    }

    private mutating func take(_ extensions: [Certificate.Extension]) throws {
        for member in extensions {
            switch member.oid {
            case .X509ExtensionID.authorityKeyIdentifier:
                authorityKeyIdentifier = try AuthorityKeyIdentifier(member).keyIdentifier.map { Array($0) }
            case .RevocationList.number:
                let value = try ArraySlice<UInt8>(derEncoded: DER.parse(member.value), withIdentifier: .integer)
                number = Array(value.drop { $0 == 0 })
            case .RevocationList.deltaIndicator:
                throw RevocationListError.incomplete("a list of changes")
            case .RevocationList.issuingDistributionPoint:
                throw RevocationListError.incomplete("a list for one distribution point")
            default:
                guard !member.critical else { throw RevocationListError.criticalExtension("\(member.oid)") }
            }
        }
    }

    private static func algorithm(_ node: ASN1Node) throws -> Certificate.SignatureAlgorithm {
        let oid = try DER.sequence(node, identifier: .sequence) { nodes in
            let oid = try ASN1ObjectIdentifier(derEncoded: &nodes)
            _ = nodes.next()
            return oid
        }
        guard let algorithm = accepted[oid] else { throw RevocationListError.unacceptableAlgorithm }
        return algorithm
    }

    private static let accepted: [ASN1ObjectIdentifier: Certificate.SignatureAlgorithm] = [
        [1, 2, 840, 10045, 4, 3, 2]: .ecdsaWithSHA256,
        [1, 2, 840, 10045, 4, 3, 3]: .ecdsaWithSHA384,
        [1, 2, 840, 10045, 4, 3, 4]: .ecdsaWithSHA512,
        [1, 2, 840, 113549, 1, 1, 11]: .sha256WithRSAEncryption,
        [1, 2, 840, 113549, 1, 1, 12]: .sha384WithRSAEncryption,
        [1, 2, 840, 113549, 1, 1, 13]: .sha512WithRSAEncryption,
        [1, 3, 101, 112]: .ed25519,
    ]
}

extension ASN1ObjectIdentifier {
    fileprivate enum RevocationList {
        static let number: ASN1ObjectIdentifier = [2, 5, 29, 20]
        static let reasonCode: ASN1ObjectIdentifier = [2, 5, 29, 21]
        static let deltaIndicator: ASN1ObjectIdentifier = [2, 5, 29, 27]
        static let issuingDistributionPoint: ASN1ObjectIdentifier = [2, 5, 29, 28]
        static let certificateIssuer: ASN1ObjectIdentifier = [2, 5, 29, 29]
    }
}

extension Date {
    /// UTCTime or GeneralizedTime without fractions, both in UTC (RFC 5280 section 5.1.2.4).
    fileprivate init(asn1Time node: ASN1Node) throws {
        switch node.identifier {
        case .utcTime:
            let time = try UTCTime(derEncoded: node)
            self.init(time.year, time.month, time.day, time.hours, time.minutes, time.seconds)
        case .generalizedTime:
            let time = try GeneralizedTime(derEncoded: node)
            guard time.fractionalSeconds == 0 else { throw RevocationListError.malformed("a time with fractions") }
            self.init(time.year, time.month, time.day, time.hours, time.minutes, time.seconds)
        default: throw RevocationListError.malformed("a time")
        }
    }

    /// Of the proleptic Gregorian calendar, in UTC. The era of 400 years begins in March, so that the leap day is its year's last.
    private init(_ year: Int, _ month: Int, _ day: Int, _ hours: Int, _ minutes: Int, _ seconds: Int) {
        let shifted = month > 2 ? year : year - 1
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146_097 + dayOfEra - 719_468
        self.init(timeIntervalSince1970: Double(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
    }
}
