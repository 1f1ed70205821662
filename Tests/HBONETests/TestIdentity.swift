import COpenSSL
import Glibc
import HBONE
import SPIFFE

/// A self-made authority and leaves with a URI SAN, made once for all tests.
struct TestIdentity: Sendable {
    let uri: String
    /// Leaf first, then the authority.
    let chain: [[UInt8]]
    let keyDER: [UInt8]

    static let web = TestIdentity("spiffe://culvert.test/ns/shop/sa/web")
    static let api = TestIdentity("spiffe://culvert.test/ns/shop/sa/api")

    init(_ uri: String) {
        self.uri = uri
        let authorityKey = Self.makeKey()
        let authority = Self.makeCertificate("authority", key: authorityKey, uri: nil, signer: authorityKey)
        let key = Self.makeKey()
        let leaf = Self.makeCertificate("leaf", key: key, uri: uri, signer: authorityKey)
        chain = [Self.der { i2d_X509(leaf, $0) }, Self.der { i2d_X509(authority, $0) }]
        let wrapped = EVP_PKEY2PKCS8(key)
        keyDER = Self.der { i2d_PKCS8_PRIV_KEY_INFO(wrapped, $0) }
        PKCS8_PRIV_KEY_INFO_free(wrapped)
        for certificate in [leaf, authority] { X509_free(certificate) }
        for key in [key, authorityKey] { EVP_PKEY_free(key) }
    }

    func context(_ role: TLSContext.Role, verify: @escaping @Sendable ([[UInt8]]) -> TLSPeerVerdict = acceptAny)
        -> TLSContext
    {
        do {
            return try TLSContext(
                role: role, certificateChainDER: chain, privateKeyDER: keyDER, records: Self.records, verify: verify)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// CULVERT_TLS_RECORDS, so that the whole suite can be run over each of them: own (the default), portable or libssl.
    static let records: TLSRecords = {
        switch getenv("CULVERT_TLS_RECORDS").map({ String(cString: $0) }) {
        case nil, "own": .own(vectorAES: true)
        case "portable": .own(vectorAES: false)
        case "libssl": .libssl
        case let other: preconditionFailure("CULVERT_TLS_RECORDS=\(other ?? "") is none of own, portable and libssl")
        }
    }()

    /// Stands in for SPIFFE's verifier: takes the leaf's URI at its word.
    static let acceptAny: @Sendable ([[UInt8]]) -> TLSPeerVerdict = { chain in
        guard let leaf = chain.first, let uri = uri(in: leaf), let id = try? SPIFFEID(uri) else {
            return .refuse("no SPIFFE ID")
        }
        return .accept(id)
    }

    private static func uri(in leaf: [UInt8]) -> String? {
        let scheme = Array("spiffe://".utf8)
        guard
            let start = leaf.indices.first(where: { $0 > 0 && leaf[$0...].starts(with: scheme) })
        else { return nil }
        // DER: the byte before is the length of the text.
        return String(decoding: leaf[start...].prefix(Int(leaf[start - 1])), as: UTF8.self)
    }

    private static func makeKey() -> OpaquePointer? {
        let context = EVP_PKEY_CTX_new_from_name(nil, "EC", nil)
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        precondition(
            EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_CTX_set_group_name(context, "P-256") == 1
                && EVP_PKEY_generate(context, &key) == 1)
        return key
    }

    private static func makeCertificate(
        _ name: String, key: OpaquePointer?, uri: String?, signer: OpaquePointer?
    ) -> OpaquePointer? {
        let certificate = X509_new()
        X509_set_version(certificate, 2)
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7)
        X509_gmtime_adj(X509_getm_notBefore(certificate), -60)
        X509_gmtime_adj(X509_getm_notAfter(certificate), 3600)
        let subject = X509_NAME_new()
        X509_NAME_add_entry_by_txt(subject, "CN", 0x1001, name, -1, -1, 0)
        X509_set_subject_name(certificate, subject)
        X509_set_issuer_name(certificate, subject)
        X509_NAME_free(subject)
        X509_set_pubkey(certificate, key)
        if let uri {
            let name = X509V3_EXT_conf_nid(nil, nil, NID_subject_alt_name, "critical,URI:\(uri)")
            X509_add_ext(certificate, name, -1)
            X509_EXTENSION_free(name)
        }
        precondition(X509_sign(certificate, signer, EVP_sha256()) > 0)
        return certificate
    }

    private static func der(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        let length = Int(encode(nil))
        precondition(length > 0)
        return [UInt8](unsafeUninitializedCapacity: length) { buffer, written in
            var next = buffer.baseAddress
            written = Int(encode(&next))
        }
    }
}
