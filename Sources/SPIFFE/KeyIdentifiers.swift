public import X509

extension Certificate {
    /// Of the key that signed it, as the certificate says: lower-case hexadecimal, as authorities are named by. `nil` where there is none.
    public var signerKeyIdentifier: String? {
        guard let identifier = try? extensions.authorityKeyIdentifier?.keyIdentifier else { return nil }
        return identifier.map(hexadecimal).joined()
    }
}

extension X509SVID {
    /// The keys that it depends on: who signed the leaf comes first, the root last.
    public var signers: [String] { certificates.compactMap(\.signerKeyIdentifier) }
}
