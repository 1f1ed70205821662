internal import FoundationEssentials
internal import Glibc
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// The last look at a leaf before it leaves: every byte of it is what was decided, or the issuer's, or the profile's.
///
/// Stricter than `SVIDProfile`, which knows what an SVID may be and not what this one was to be. Only whether the signature is right is
/// not looked at here.
struct LeafInspection: Sendable {
    /// O=Culvert.
    private static let subject: [UInt8] =
        [0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x07] + Array("Culvert".utf8)

    /// As they stand in the issuer's certificate.
    private let issuerName: [UInt8]
    private let issuerKey: [UInt8]
    private let issuerKeyIdentifier: [UInt8]
    private let issuerNotAfter: Int64

    /// nil for an issuer whose certificate does not have what a leaf has to name.
    init?(issuer: Certificate, notAfter: Date) {
        var outer = DERReader(issuer.der())
        guard var certificate = outer.enter(0x30), var fields = certificate.enter(0x30), fields.enter(0xa0) != nil,
            fields.next(0x02) != nil, fields.next(0x30) != nil, fields.next(0x30) != nil, fields.next(0x30) != nil,
            let name = fields.next(0x30), let key = fields.next(0x30)
        else { return nil }
        issuerName = Array(fields.bytes[name.whole])
        issuerKey = Array(fields.bytes[key.whole])
        let stated = try? issuer.extensions.subjectKeyIdentifier
        issuerKeyIdentifier = Array((stated ?? SubjectKeyIdentifier(hash: issuer.publicKey)).keyIdentifier)
        issuerNotAfter = min(notAfter, issuer.notValidAfter).unixSeconds
    }

    /// What is wrong with it; nil if nothing is.
    func flaw(of certificate: [UInt8], for content: LeafContent) -> String? {
        var outer = DERReader(certificate)
        guard var certificate = outer.enter(0x30), outer.isAtEnd, var fields = certificate.enter(0x30),
            let algorithm = certificate.next(0x30), let signature = certificate.next(0x03), certificate.isAtEnd,
            signature.content.count > 8, fields.bytes[signature.content.lowerBound] == 0
        else { return "it is no certificate" }
        return flaw(ofFields: &fields, algorithm: fields.bytes[algorithm.whole], content)
    }

    private func flaw(
        ofFields fields: inout DERReader, algorithm: ArraySlice<UInt8>, _ content: LeafContent
    ) -> String? {
        guard let version = fields.next(0xa0), fields.isEqual(version.content, [2, 1, 2]) else {
            return "it is not of version 3"
        }
        let digits = content.serial.bytes.drop { $0 == 0 }
        guard let serial = fields.next(0x02), !digits.isEmpty, (1...20).contains(serial.content.count),
            fields.bytes[serial.content.lowerBound] < 0x80,
            fields.bytes[serial.content].drop(while: { $0 == 0 }).elementsEqual(digits)
        else { return "its serial number is not the one that was drawn (I5)" }
        guard let inner = fields.next(0x30), fields.bytes[inner.whole] == algorithm else {
            return "it names two algorithms"
        }
        guard let issuer = fields.next(0x30), fields.isEqual(issuer.whole, issuerName) else {
            return "it names another issuer"
        }
        guard let validity = fields.next(0x30) else { return "it has no validity" }
        if let flaw = flaw(ofValidity: DERReader(fields.bytes, validity.content), content.validity) { return flaw }
        guard let subject = fields.next(0x30), fields.isEqual(subject.whole, Self.subject) else {
            return "its subject is not O=Culvert (I9)"
        }
        guard let key = fields.next(0x30), fields.isEqual(key.whole, content.key.info) else {
            return "it holds another key"
        }
        guard content.key.info != issuerKey else { return "its key is its issuer's (I13)" }
        guard var wrapped = fields.enter(0xa3), fields.isAtEnd, let extensions = wrapped.enter(0x30), wrapped.isAtEnd
        else { return "its extensions cannot be read" }
        return flaw(ofExtensions: extensions, content)
    }

    private func flaw(ofValidity validity: DERReader, _ decided: CertificateProfile.Validity) -> String? {
        var validity = validity
        guard let begin = validity.next().flatMap({ Self.seconds($0, validity.bytes) }),
            let end = validity.next().flatMap({ Self.seconds($0, validity.bytes) }), validity.isAtEnd
        else { return "its times are not UTCTime until 2049 and GeneralizedTime from 2050 (I14)" }
        guard begin == decided.notBefore.unixSeconds, end == decided.notAfter.unixSeconds, begin < end else {
            return "it begins or ends at another time than intended (I8)"
        }
        return end <= issuerNotAfter ? nil : "it outlives its issuer (I7)"
    }

    private static func seconds(_ time: DERReader.Element, _ bytes: [UInt8]) -> Int64? {
        let digits = bytes[time.content]
        guard digits.last == UInt8(ascii: "Z"), digits.dropLast().allSatisfy({ (0x30...0x39).contains($0) }),
            digits.count == (time.tag == 0x17 ? 13 : 15), time.tag == 0x17 || time.tag == 0x18
        else { return nil }
        var pairs: [Int] = []
        for index in stride(from: digits.startIndex, to: digits.endIndex - 1, by: 2) {
            pairs.append(Int(digits[index] - 0x30) * 10 + Int(digits[index + 1] - 0x30))
        }
        let year = time.tag == 0x17 ? (pairs[0] < 50 ? 2000 : 1900) + pairs[0] : pairs[0] * 100 + pairs[1]
        guard time.tag == 0x17 || year >= 2050 else { return nil }
        let rest = pairs.suffix(5).map(Int32.init)
        var parts = tm()
        parts.tm_year = Int32(year - 1900)
        (parts.tm_mon, parts.tm_mday) = (rest[0] - 1, rest[1])
        (parts.tm_hour, parts.tm_min, parts.tm_sec) = (rest[2], rest[3], rest[4])
        return Int64(timegm(&parts))
    }

    // MARK: Extensions

    private struct Expected {
        let identifier: [UInt8]
        let rule: String
        let isCritical: Bool
        let value: [UInt8]
    }

    /// Exactly these, each once.
    private func expected(_ content: LeafContent) -> [Expected] {
        let uri = Array(content.id.description.utf8)
        return [
            Expected(identifier: [0x55, 0x1d, 0x13], rule: "I4", isCritical: true, value: [0x30, 0x00]),
            Expected(
                identifier: [0x55, 0x1d, 0x0f], rule: "I2", isCritical: true,
                value: content.key.isRSA ? [0x03, 0x02, 0x05, 0xa0] : [0x03, 0x02, 0x07, 0x80]),
            Expected(
                identifier: [0x55, 0x1d, 0x25], rule: "I3", isCritical: false,
                value: [
                    0x30, 0x14, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01, 0x06, 0x08, 0x2b, 0x06,
                    0x01, 0x05, 0x05, 0x07, 0x03, 0x02,
                ]),
            Expected(
                identifier: [0x55, 0x1d, 0x11], rule: "I1", isCritical: false,
                value: [UInt8](der: 0x30, [UInt8](der: 0x86, uri), content.names)),
            Expected(
                identifier: [0x55, 0x1d, 0x0e], rule: "I6", isCritical: false,
                value: [UInt8](der: 0x04, content.key.identifier)),
            Expected(
                identifier: [0x55, 0x1d, 0x23], rule: "I6", isCritical: false,
                value: [UInt8](der: 0x30, [UInt8](der: 0x80, issuerKeyIdentifier))),
        ]
    }

    private func flaw(ofExtensions extensions: DERReader, _ content: LeafContent) -> String? {
        guard !content.id.path.isEmpty else { return "its ID has no path (I1)" }
        var extensions = extensions
        var missing = expected(content)
        while var member = extensions.enter(0x30) {
            guard let identifier = member.next(0x06), var value = member.next() else {
                return "an extension cannot be read"
            }
            let isCritical = value.tag == 0x01
            if isCritical {
                guard member.isEqual(value.content, [0xff]), let next = member.next() else {
                    return "an extension cannot be read"
                }
                value = next
            }
            guard value.tag == 0x04, member.isAtEnd,
                let index = missing.firstIndex(where: { member.isEqual(identifier.content, $0.identifier) })
            else { return "it has an extension that it is not to have" }
            let wanted = missing.remove(at: index)
            guard wanted.isCritical == isCritical, member.isEqual(value.content, wanted.value) else {
                return "an extension is not as it should be (\(wanted.rule))"
            }
        }
        guard extensions.isAtEnd, missing.isEmpty else { return "it lacks an extension" }
        return nil
    }
}
