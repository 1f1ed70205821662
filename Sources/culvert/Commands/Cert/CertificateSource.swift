import Glibc
import LinuxNetworking
import SPIFFE

/// A file's bytes, bounded, with the name to show for it.
struct CertificateSource: Sendable {
    /// As the user wrote it, or below the directory that the user wrote.
    let name: String
    let bytes: [UInt8]

    struct Listing {
        var isDirectory = false
        var files: [CertificateSource] = []
        var unreadable: [CertificateProblem] = []
    }

    private static let maximumFiles = 10_000
    private static let maximumDepth = 16

    /// The file, standard input for `-`, or all regular files below the directory in the order of their names.
    ///
    /// Names that begin with a dot are left out: a mounted Kubernetes secret has its files twice, once below `..data`.
    static func all(at path: String) throws(CertificateProblem) -> Listing {
        var listing = Listing()
        guard path != "-", kind(of: path) == S_IFDIR else {
            listing.files = [try file(path)]
            return listing
        }
        listing.isDirectory = true
        walk(path, depth: 0, into: &listing)
        return listing
    }

    static func file(_ path: String) throws(CertificateProblem) -> CertificateSource {
        guard path != "-" else {
            return CertificateSource(name: "standard input", bytes: try read(STDIN_FILENO, "standard input"))
        }
        guard kind(of: path) != S_IFSOCK else { return try proxy(path) }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path, errno) }
        defer { close(descriptor) }
        return CertificateSource(name: path, bytes: try read(descriptor, path))
    }

    /// What a running proxy shows on its socket, see `CertificateServer`.
    private static func proxy(_ path: String) throws(CertificateProblem) -> CertificateSource {
        var content: [UInt8] = []
        do {
            let socket = try SeqpacketSocket(connectingTo: path)
            let deadline = ContinuousClock.now + .seconds(10)
            while let packet = try socket.receive(deadline: deadline) { content += packet.bytes }
        } catch {
            throw CertificateProblem(
                file: path, message: "\(error)",
                hint: error.code == ECONNREFUSED
                    ? "is the proxy running?" : "a proxy shows its certificates to its own user, at certificates.sock",
                code: error.code)
        }
        return CertificateSource(name: path, bytes: content)
    }

    private static func walk(_ directory: String, depth: Int, into listing: inout Listing) {
        let entries: [String]
        do throws(Errno) {
            guard depth < maximumDepth else { throw Errno(code: ELOOP, call: "open directory \(directory)") }
            entries = try Directory.entries(directory)
        } catch {
            listing.unreadable.append(failure(directory, error.code))
            return
        }
        for name in entries where !name.hasPrefix(".") {
            let path = directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
            guard listing.files.count < maximumFiles else {
                listing.unreadable.append(
                    CertificateProblem(
                        file: path, message: "more than \(maximumFiles) files", hint: "inspect a smaller directory"))
                return
            }
            switch kind(of: path) {
            case S_IFDIR: walk(path, depth: depth + 1, into: &listing)
            case S_IFREG:
                do { listing.files.append(try file(path)) } catch { listing.unreadable.append(error) }
            case nil: listing.unreadable.append(failure(path, errno))
            // A device, socket or pipe: reading it could take for ever.
            default: break
            }
        }
    }

    /// The type bits of the mode, links followed; `nil` when it cannot be told.
    private static func kind(of path: String) -> mode_t? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return status.st_mode & S_IFMT
    }

    private static func read(_ descriptor: Int32, _ path: String) throws(CertificateProblem) -> [UInt8] {
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(path, errno) }
            guard count > 0 else { return content }
            content += buffer[..<count]
            guard content.count <= PEMBlock.maximumBytes else {
                throw CertificateProblem(
                    file: path, message: "larger than \(PEMBlock.maximumBytes >> 20) MiB",
                    hint: "this is hardly a certificate; split the file if it is")
            }
        }
    }

    private static func failure(_ path: String, _ code: Int32) -> CertificateProblem {
        let hint =
            switch code {
            case ENOENT: "check the path; it is relative to the current directory"
            case EACCES, EPERM: "run it as the owner of the file, or with sudo"
            default: "check the path"
            }
        return CertificateProblem(file: path, message: String(cString: strerror(code)), hint: hint, code: code)
    }
}
