import Crypto
public import FoundationEssentials
public import SwiftASN1
public import X509

/// What a test's revocation list says. Begins as a good and empty one; a test changes one thing and so names the flaw.
public struct RevocationPlan {
    public struct Entry {
        public var serial: [UInt8]
        public var date: Date
        public var extensions: [Certificate.Extension] = []

        public init(_ certificate: Certificate, reason: UInt8? = nil, date: Date = Date()) {
            serial = Array(certificate.serialNumber.bytes)
            self.date = date
            if let reason { extensions = [RevocationPlan.reason(reason)] }
        }
    }

    /// As encoded: 1 is version 2.
    public var version: Int64? = 1
    public var thisUpdate: Date
    public var nextUpdate: Date?
    public var entries: [Entry] = []
    public var keyIdentifier: ArraySlice<UInt8>?
    public var number: [UInt8]? = [1]
    public var extensions: [Certificate.Extension] = []
    /// ecdsa-with-SHA256 is what it is signed with.
    public var innerAlgorithm: ASN1ObjectIdentifier = [1, 2, 840, 10045, 4, 3, 2]
    public var outerAlgorithm: ASN1ObjectIdentifier = [1, 2, 840, 10045, 4, 3, 2]

    public init(now: Date = Date(), revoking certificates: Certificate...) {
        thisUpdate = now.addingTimeInterval(-60)
        nextUpdate = now.addingTimeInterval(3600)
        entries = certificates.map { Entry($0, date: now.addingTimeInterval(-60)) }
    }

    public static func reason(_ code: UInt8) -> Certificate.Extension {
        .init(oid: [2, 5, 29, 21], critical: false, value: [0x0a, 0x01, code])
    }

    /// `key` is a P-256 key.
    public func der(issuer: DistinguishedName, key: Certificate.PrivateKey) throws -> [UInt8] {
        var body = DER.Serializer()
        try body.appendConstructedNode(identifier: .sequence) { body in
            if let version { try body.serialize(version) }
            try Self.append(innerAlgorithm, to: &body)
            try body.serialize(issuer)
            try Self.append(thisUpdate, to: &body)
            if let nextUpdate { try Self.append(nextUpdate, to: &body) }
            if !entries.isEmpty {
                try body.appendConstructedNode(identifier: .sequence) { list in
                    for entry in entries { try Self.append(entry, to: &list) }
                }
            }
            let extensions = try allExtensions
            if !extensions.isEmpty {
                try body.appendConstructedNode(
                    identifier: ASN1Identifier(tagWithNumber: 0, tagClass: .contextSpecific)
                ) { try Self.append(extensions, to: &$0) }
            }
        }
        let signer = try P256.Signing.PrivateKey(pemRepresentation: key.serializeAsPEM().pemString)
        let signature = try signer.signature(for: body.serializedBytes).derRepresentation
        var list = DER.Serializer()
        try list.appendConstructedNode(identifier: .sequence) { list in
            list.serializeRawBytes(body.serializedBytes)
            try Self.append(outerAlgorithm, to: &list)
            try list.serialize(ASN1BitString(bytes: ArraySlice(signature)))
        }
        return list.serializedBytes
    }

    private var allExtensions: [Certificate.Extension] {
        get throws {
            var all: [Certificate.Extension] = []
            if let keyIdentifier {
                all.append(try .init(AuthorityKeyIdentifier(keyIdentifier: keyIdentifier), critical: false))
            }
            if let number {
                all.append(
                    .init(
                        oid: [2, 5, 29, 20], critical: false, value: ArraySlice([0x02, UInt8(number.count)] + number)))
            }
            return all + extensions
        }
    }

    private static func append(_ algorithm: ASN1ObjectIdentifier, to coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { try $0.serialize(algorithm) }
    }

    private static func append(_ extensions: [Certificate.Extension], to coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            for member in extensions { try coder.serialize(member) }
        }
    }

    private static func append(_ entry: Entry, to coder: inout DER.Serializer) throws {
        try coder.appendConstructedNode(identifier: .sequence) { coder in
            try coder.serialize(ArraySlice(entry.serial))
            try append(entry.date, to: &coder)
            if !entry.extensions.isEmpty { try append(entry.extensions, to: &coder) }
        }
    }

    /// UTCTime until 2049, GeneralizedTime from then on.
    private static func append(_ date: Date, to coder: inout DER.Serializer) throws {
        let digits = date.formatted(.iso8601).compactMap(\.wholeNumberValue)
        func number(_ range: Range<Int>) -> Int { digits[range].reduce(0) { $0 * 10 + $1 } }
        let (year, month, day) = (number(0..<4), number(4..<6), number(6..<8))
        let (hours, minutes, seconds) = (number(8..<10), number(10..<12), number(12..<14))
        if year < 2050 {
            try coder.serialize(
                UTCTime(year: year, month: month, day: day, hours: hours, minutes: minutes, seconds: seconds))
        } else {
            try coder.serialize(
                GeneralizedTime(
                    year: year, month: month, day: day, hours: hours, minutes: minutes, seconds: seconds,
                    fractionalSeconds: 0))
        }
    }
}
