import SwiftASN1
public import X509

extension TrustBundle {
    /// Reads certificates one after the other, with or without text between them. Neither a sequence nor a refresh hint
    /// can be written in PEM.
    public init(
        trustDomain: TrustDomain, pem: String, sequence: UInt64 = 0, refreshHint: Int? = nil
    ) throws(TrustBundleError) {
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(pem.utf8) } catch { throw .pem(error) }
        guard !blocks.isEmpty else { throw .noCertificates }
        var authorities: [Certificate] = []
        for block in blocks {
            if block.isPrivateKey { throw .privateKey(line: block.line) }
            guard block.label == Certificate.defaultPEMDiscriminator else {
                throw .unexpectedBlock(label: block.label, line: block.line)
            }
            guard let certificate = try? Certificate(derEncoded: block.der) else {
                throw .malformedCertificate(position: authorities.count + 1)
            }
            authorities.append(certificate)
        }
        try self.init(
            trustDomain: trustDomain, authorities: authorities, sequence: sequence, refreshHint: refreshHint)
    }

    /// One block per authority, each ending with a line feed; empty when there is no authority.
    public func pem() -> String {
        authorities.map { $0.pem() }.joined()
    }
}

extension Certificate {
    /// The DER that this certificate was decoded from.
    public func der() -> [UInt8] {
        var serializer = DER.Serializer()
        // Three pieces that are kept as the bytes they were: writing them cannot fail.
        try? serializer.serialize(self)
        return serializer.serializedBytes
    }

    /// Ends with a line feed.
    public func pem() -> String {
        PEMDocument(type: Self.defaultPEMDiscriminator, derBytes: der()).pemString + "\n"
    }
}
