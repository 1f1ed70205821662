import SPIFFE
import SwiftASN1
public import X509

/// An authority's answer to Istio's CreateCertificate: a chain, and the roots by which peers are verified.
public struct IstioCertificateAnswer: Equatable, Sendable {
    /// In bytes, of all elements together: within what a call may bring.
    static let bytesMax = 512 << 10

    /// Leaf first, root left out.
    public let certificates: [Certificate]
    public let roots: [Certificate]

    public init(certificates: [Certificate], roots: [Certificate]) {
        self.certificates = certificates
        self.roots = roots
    }

    /// As Istio's authority writes it: the leaf, what stands between, and the roots together as the last element.
    public var message: Istio_V1_Auth_IstioCertificateResponse {
        var message = Istio_V1_Auth_IstioCertificateResponse()
        message.certChain = certificates.map { $0.pem() } + [roots.map { $0.pem() }.joined()]
        return message
    }

    /// From an authority. What stands between leaf and roots may come one by one or together, and may end with a root, which is
    /// left out.
    public init(_ message: Istio_V1_Auth_IstioCertificateResponse) throws(AuthorityCallError) {
        let elements = message.certChain
        guard (2...[Certificate].answerCertificatesMax + 1).contains(elements.count) else {
            throw .invalidAnswer("it holds \(elements.count) elements; a chain and its roots were expected")
        }
        guard elements.reduce(0, { $0 + $1.utf8.count }) <= Self.bytesMax else {
            throw .invalidAnswer("it is longer than \(Self.bytesMax) bytes")
        }
        var groups: [[Certificate]] = []
        for (index, element) in elements.enumerated() {
            groups.append(try Self.certificates(element, index + 1))
        }
        guard groups[0].count == 1 else { throw .invalidAnswer("its first element is not one certificate") }
        let roots = groups.removeLast()
        guard roots.count <= TrustBundle.maximumAuthorities else {
            throw .invalidAnswer("it holds \(roots.count) roots")
        }
        let chain = groups[0] + groups.dropFirst().joined().filter { !roots.contains($0) }
        guard chain.count <= [Certificate].answerCertificatesMax else {
            throw .invalidAnswer("it holds a chain of \(chain.count) certificates")
        }
        self.init(certificates: chain, roots: roots)
    }

    private static func certificates(_ pem: String, _ position: Int) throws(AuthorityCallError) -> [Certificate] {
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(pem.utf8) } catch {
            throw .invalidAnswer("element \(position) of it: \(error)")
        }
        guard !blocks.isEmpty else { throw .invalidAnswer("element \(position) of it holds no certificate") }
        var certificates: [Certificate] = []
        for block in blocks {
            guard block.label == Certificate.defaultPEMDiscriminator,
                let certificate = try? Certificate(derEncoded: block.der)
            else { throw .invalidAnswer("element \(position) of it holds what is no certificate") }
            certificates.append(certificate)
        }
        return certificates
    }
}
