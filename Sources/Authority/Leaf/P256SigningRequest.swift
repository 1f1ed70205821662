internal import Crypto

/// The signing request that nearly everybody makes: for a P-256 key, signed with SHA-256.
///
/// PKCS#10 (RFC 2986 section 4) is read as far as key and signature need it. Names and attributes are passed over: nothing of them is used.
struct P256SigningRequest {
    private static let ecdsaWithSHA256: [UInt8] = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    ]

    let key: CertifiableKey
    private let bytes: [UInt8]
    private let signed: Range<Int>
    private let signature: Range<Int>

    /// nil for any other request, and for what is none.
    init?(der: [UInt8]) {
        var outer = DERReader(der)
        guard var request = outer.enter(0x30), outer.isAtEnd,
            let information = request.next(0x30), let algorithm = request.next(0x30),
            let signature = request.next(0x03), request.isAtEnd,
            request.isEqual(algorithm.whole, Self.ecdsaWithSHA256),
            let unused = der[signature.content].first, unused == 0
        else { return nil }
        var fields = DERReader(der, information.content)
        guard let version = fields.next(0x02), fields.isEqual(version.content, [0]), fields.next(0x30) != nil,
            let key = fields.next(0x30).flatMap({ CertifiableKey(p256Info: der[$0.whole]) }),
            fields.next(0xa0) != nil, fields.isAtEnd
        else { return nil }
        bytes = der
        self.key = key
        signed = information.whole
        self.signature = signature.content.dropFirst()
    }

    /// Whether the key's private half has signed it.
    var isGenuine: Bool {
        guard let key = key.p256,
            let signature = try? P256.Signing.ECDSASignature(derRepresentation: bytes[signature])
        else { return false }
        return key.isValidSignature(signature, for: bytes[signed])
    }
}
