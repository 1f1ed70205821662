import FoundationEssentials
import Glibc
import LinuxNetworking
import SPIFFE
import SwiftASN1
import X509

/// The node's own certificate and key on disk, so that a restarted proxy needs no new join token.
///
/// One file, mode 0600 in a directory of mode 0700: the certificates, leaf first, and then the key, as PEM. Keys of
/// workloads are never here.
///
/// The file is also how the processes of one node are one holder of its identity: during an upgrade two run, and one renews for both. A
/// copy of the key on another machine does not see this directory, so it goes on with what was replaced, and the authority notices.
struct NodeCredentials: Sendable {
    private let path: String
    private let lockPath: String

    /// Who has the lock makes one call to the authority, which has a deadline of its own.
    static let lockPatience = Duration.seconds(60)
    private static let lockInterval = Duration.milliseconds(50)

    init(directory: String) throws {
        path = "\(directory)/node.pem"
        lockPath = "\(directory)/node.lock"
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

    /// What another process of this node has replaced `svid` by.
    func successor(of svid: X509SVID) -> X509SVID? {
        guard let saved = load(log: { _ in }), saved.id == svid.id, saved.serialNumber != svid.serialNumber,
            saved.notBefore >= svid.notBefore, saved.notAfter > Date()
        else { return nil }
        return saved
    }

    /// Runs `body` while no other process of this node does. The lock spares the authority two holders of one identity; it must never cost
    /// the node that identity, so that a process which is stuck with it is not waited for without end: then `log` says so.
    func exclusively<Value>(
        patience: Duration = lockPatience, log: (String) -> Void, _ body: () async throws -> Value
    ) async throws -> Value {
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw CommandFailure("\(Errno(code: errno, call: "open \(lockPath)"))") }
        // Gives the lock back, as does the process's end.
        defer { close(descriptor) }
        let end = ContinuousClock.now + patience
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                throw CommandFailure("\(Errno(code: errno, call: "lock \(lockPath)"))")
            }
            guard .now < end else {
                log("another process of this node has held \(lockPath) for \(patience): not waited for")
                break
            }
            try await Task.sleep(for: Self.lockInterval)
        }
        return try await body()
    }

    /// Says when another process has replaced a certificate, and reads the file only when it is another than at the last look.
    struct Watch {
        private let credentials: NodeCredentials
        private var seen: [Int]?

        init(_ credentials: NodeCredentials) { self.credentials = credentials }

        mutating func sees(successorOf svid: X509SVID) -> Bool {
            var status = stat()
            guard stat(credentials.path, &status) == 0 else { return false }
            // Each version is a file of its own, renamed into place.
            let stamp = [Int(status.st_ino), status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
            guard stamp != seen else { return false }
            seen = stamp
            return credentials.successor(of: svid) != nil
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
    init(pem text: String) throws {
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
