internal import Crypto
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// A public key that a leaf may be made for, encoded as it will stand there.
public struct CertifiableKey: Sendable, Equatable {
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1), DER.
    let info: [UInt8]
    /// RFC 5280 section 4.2.1.2, method 1.
    let identifier: [UInt8]
    let isRSA: Bool

    /// Around an uncompressed point.
    private static let p256Header: [UInt8] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ]

    init(_ key: Certificate.PublicKey) throws {
        var serializer = DER.Serializer()
        try serializer.serialize(key)
        info = serializer.serializedBytes
        identifier = Array(SubjectKeyIdentifier(hash: key).keyIdentifier)
        if case .rsa = PublicKeyKind(key) { isRSA = true } else { isRSA = false }
    }

    /// A P-256 key with its point uncompressed; nil for others.
    init?(p256Info info: ArraySlice<UInt8>) {
        guard info.count == Self.p256Header.count + 65, info.starts(with: Self.p256Header) else { return nil }
        self.info = Array(info)
        identifier = Array(Insecure.SHA1.hash(data: Self.point(of: self.info)))
        isRSA = false
    }

    /// nil unless it was made from such a key, and the point is on the curve.
    var p256: P256.Signing.PublicKey? {
        guard info.starts(with: Self.p256Header) else { return nil }
        return try? P256.Signing.PublicKey(x963Representation: Self.point(of: info))
    }

    private static func point(of info: [UInt8]) -> ArraySlice<UInt8> { info[p256Header.count...] }
}
