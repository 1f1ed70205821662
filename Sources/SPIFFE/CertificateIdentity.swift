public import X509

/// Why a certificate does not name exactly one SPIFFE ID (X509-SVID section 2).
public enum CertificateIdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    case unreadableNames
    case noURIName
    case severalURINames(Int)
    case malformed(SPIFFEIDError)

    public var description: String {
        switch self {
        case .unreadableNames: "the subject alternative names cannot be read"
        case .noURIName: "no URI among the subject alternative names, so no SPIFFE ID"
        case .severalURINames(let count):
            "\(count) URIs among the subject alternative names; an SVID has exactly one"
        case .malformed(let error): "the URI name is not a SPIFFE ID: \(error)"
        }
    }
}

extension Certificate {
    /// All URI names as they stand, unchecked.
    public func uriNames() throws(CertificateIdentityError) -> [String] {
        let names: SubjectAlternativeNames?
        do { names = try extensions.subjectAlternativeNames } catch { throw .unreadableNames }
        return (names ?? .init()).compactMap { name in
            guard case .uniformResourceIdentifier(let uri) = name else { return nil }
            return uri
        }
    }

    /// The SPIFFE ID in the one URI name. Other kinds of names are ignored.
    public func spiffeID() throws(CertificateIdentityError) -> SPIFFEID {
        let uris = try uriNames()
        guard let uri = uris.first else { throw .noURIName }
        guard uris.count == 1 else { throw .severalURINames(uris.count) }
        do { return try SPIFFEID(uri) } catch { throw .malformed(error) }
    }
}
