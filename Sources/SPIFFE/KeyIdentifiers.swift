internal import SwiftASN1
public import X509

extension Certificate {
    /// Of the key that signed it, as the certificate says: lower-case hexadecimal, as authorities are named by. `nil` where there is none.
    public var signerKeyIdentifier: String? {
        guard let identifier = try? extensions.authorityKeyIdentifier?.keyIdentifier else { return nil }
        return hexadecimal(identifier)
    }

    /// Its serial number: lower-case hexadecimal, two digits per octet.
    public var serial: String { hexadecimal(serialNumber.bytes) }

    /// Of its own key (RFC 5280 section 4.2.1.2, method 1): what certificates that it signed name.
    public var keyIdentifier: String {
        hexadecimal(SubjectKeyIdentifier(hash: publicKey).keyIdentifier)
    }
}

extension X509SVID {
    /// The keys that it depends on: who signed the leaf comes first, the root last.
    public var signers: [String] { certificates.compactMap(\.signerKeyIdentifier) }

    /// The same of a peer's chain, in DER; what cannot be read names none.
    public static func signers(ofChainDER chain: [[UInt8]]) -> [String] {
        chain.compactMap { (try? Certificate(derEncoded: $0))?.signerKeyIdentifier }
    }
}
