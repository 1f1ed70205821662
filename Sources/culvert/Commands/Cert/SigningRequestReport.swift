import SwiftASN1
import X509

/// What a certificate signing request says.
struct SigningRequestReport: Encodable, Sendable {
    let type = "certificate_request"
    let place: CertificatePlace
    let subject: String
    let key: KeyReport
    let signatureAlgorithm: String
    /// Whether it is signed with the key it holds, which proves that the requester has it.
    let signatureValid: Bool
    let names: NameReport
    let extensions: [ExtensionReport]
    let pem: String

    init(_ request: CertificateSigningRequest, at place: CertificatePlace) {
        self.place = place
        subject = CertificateNames.distinguished(request.subject)
        key = KeyReport(request.publicKey)
        signatureAlgorithm = CertificateNames.signature(request.signatureAlgorithm)
        signatureValid = request.publicKey.isValidSignature(request.signature, for: request)
        let requested = (try? request.attributes.extensionRequest)?.extensions ?? .init()
        names = NameReport((try? requested.subjectAlternativeNames) ?? .init())
        extensions = requested.map(ExtensionReport.init)
        pem = (try? request.serializeAsPEM().pemString).map { $0 + "\n" } ?? ""
    }

    enum CodingKeys: String, CodingKey {
        case type, subject, key
        case place = "source"
        case signatureAlgorithm = "signature_algorithm"
        case signatureValid = "signature_valid"
        case names = "san"
        case extensions
    }
}
