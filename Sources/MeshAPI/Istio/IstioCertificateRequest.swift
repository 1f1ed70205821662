import FoundationEssentials
public import SPIFFE
import SwiftProtobuf
public import X509

/// What a node's proxy asks of an authority by Istio's CreateCertificate: a certificate for one of its node's workloads.
public struct IstioCertificateRequest: Hashable, Sendable {
    /// In bytes, as PEM.
    static let csrBytesMax = 16 << 10
    /// Istio's own bounds would let a minute pass, too; a certificate that lives shorter has run out when it is used.
    static let lifetimes = Duration.seconds(60)...Duration.seconds(90 * 86400)
    private static let identityKey = "ImpersonatedIdentity"

    /// PKCS#10, DER.
    public let csr: [UInt8]
    public let identity: SPIFFEID
    /// nil: what the authority thinks right.
    public let lifetime: Duration?

    public init(csr: CertificateSigningRequest, identity: SPIFFEID, lifetime: Duration?) throws(AuthorityCallError) {
        self.csr = Array(try AuthorityConnection.der(csr))
        self.identity = identity
        self.lifetime = lifetime
    }

    /// From a caller. Throws what is wrong with it.
    public init(_ message: Istio_V1_Auth_IstioCertificateRequest) throws(AuthorityDenial) {
        csr = try Self.csr(message.csr)
        guard let value = message.metadata.fields[Self.identityKey] else {
            throw Self.refusal("its metadata holds no \(Self.identityKey): a node asks here for its workloads only")
        }
        guard case .stringValue(let name)? = value.kind else {
            throw Self.refusal("\(Self.identityKey) is not a string")
        }
        do { identity = try SPIFFEID(name) } catch { throw Self.refusal("\(Self.identityKey): \(error)") }
        guard message.validityDuration != 0 else {
            lifetime = nil
            return
        }
        let seconds = Duration.seconds(message.validityDuration)
        guard Self.lifetimes.contains(seconds) else {
            throw Self.refusal("validity_duration is \(message.validityDuration) s, not a minute to 90 days")
        }
        lifetime = seconds
    }

    var message: Istio_V1_Auth_IstioCertificateRequest {
        var message = Istio_V1_Auth_IstioCertificateRequest()
        message.csr = PEMText.block("CERTIFICATE REQUEST", csr)
        message.validityDuration = lifetime?.components.seconds ?? 0
        message.metadata.fields[Self.identityKey] = Google_Protobuf_Value(stringValue: identity.description)
        return message
    }

    private static func csr(_ pem: String) throws(AuthorityDenial) -> [UInt8] {
        guard pem.utf8.count <= csrBytesMax else {
            throw refusal("its csr has \(pem.utf8.count) bytes; at most \(csrBytesMax) are read")
        }
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(pem.utf8) } catch { throw refusal("csr: \(error)") }
        guard blocks.count == 1, ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(blocks[0].label) else {
            throw refusal("csr is not one CERTIFICATE REQUEST in PEM")
        }
        return blocks[0].der
    }

    private static func refusal(_ problem: String) -> AuthorityDenial {
        AuthorityDenial(.invalidRequest, "certificate request refused: \(problem)")
    }
}

enum PEMText {
    static func block(_ label: String, _ der: [UInt8]) -> String {
        let text = Data(der).base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
        return "-----BEGIN \(label)-----\n\(text)\n-----END \(label)-----\n"
    }
}
