import Glibc
import LinuxNetworking
import SPIFFE
import SwiftASN1
import X509

/// The node's own certificate and key on disk, so that a restarted proxy needs no new join token.
///
/// One file, mode 0600 in a directory of mode 0700: the certificates, leaf first, and then the key, as PEM. Keys of
/// workloads are never here.
struct NodeCredentials: Sendable {
    private let path: String

    init(directory: String) throws {
        path = "\(directory)/node.pem"
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            throw CommandFailure(
                "\(Errno(code: errno, call: "make \(directory)"))",
                hint: "--state-dir names where the node's key is kept")
        }
    }

    /// Expired ones, too. `nil` when there is none, or none that can be used; then `log` says why.
    func load(log: (String) -> Void) -> X509SVID? {
        guard TextFile.exists(path) else { return nil }
        do {
            return try X509SVID(pem: try TextFile.read(path))
        } catch {
            log("the node's certificate in \(path) cannot be used: \(error)")
            return nil
        }
    }

    func save(_ svid: X509SVID) throws {
        let certificates = try svid.certificates.map { try $0.serializeAsPEM().pemString }
        let text = (certificates + [try svid.privateKey.serializeAsPEM().pemString]).joined(separator: "\n") + "\n"
        try PublishedFile.write(text, to: path, mode: 0o600)
    }
}

extension X509SVID {
    /// Certificates, leaf first, and their key, in one text.
    fileprivate init(pem text: String) throws {
        let documents = try PEMDocument.parseMultiple(pemString: text)
        let certificates = documents.filter { $0.discriminator == Certificate.defaultPEMDiscriminator }
        guard let key = documents.first(where: { $0.discriminator != Certificate.defaultPEMDiscriminator }) else {
            throw CommandFailure("there is no key in it")
        }
        try self.init(
            certificates: certificates.map { try Certificate(pemDocument: $0) },
            privateKey: Certificate.PrivateKey(pemDocument: key))
    }
}
