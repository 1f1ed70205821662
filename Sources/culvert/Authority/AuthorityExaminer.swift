import Authority
import FoundationEssentials
import Glibc
import SPIFFE
import X509

/// Gathers what `AuthorityExamination` judges by, inside the running authority: it alone sees the files as it uses them.
struct AuthorityExaminer: Sendable {
    let authority: CertificateAuthority
    let dataDirectory: String
    let adminSocket: String

    func facts() async -> AuthorityFacts {
        let status = authority.status()
        let bundlePath = "\(dataDirectory)/bundle.pem"
        return AuthorityFacts(
            now: Date(), bundleSequence: status.bundleSequence,
            authorities: status.authorities.map {
                AuthorityFacts.Issuer(
                    id: "\($0.id)", kind: $0.kind, state: $0.state, notBefore: $0.certificate.notValidBefore,
                    notAfter: $0.certificate.notValidAfter)
            },
            leafLifetime: TimeInterval(status.leafLifetime.components.seconds),
            nodeGrace: TimeInterval(authority.configuration.nodeGrace.components.seconds),
            nodes: status.nodes.filter(\.hasAttested).map {
                AuthorityFacts.Node(
                    name: "\($0.name)", acknowledged: $0.acknowledgement?.sequence ?? 0, expiresAt: $0.expiresAt,
                    isBanned: $0.banned)
            },
            newestRecord: await authority.newestSignature(), signatureObstacle: authority.signatureObstacle(),
            maintenance: authority.counts.maintenance, bundlePath: bundlePath, bundleFile: bundleFile(bundlePath),
            files: files(), diskFree: diskFree())
    }

    private func bundleFile(_ path: String) -> AuthorityFacts.BundleFile {
        let text: String
        do { text = try TextFile.read(path) } catch { return .unreadable("\(error)") }
        guard let bundle = try? TrustBundle(trustDomain: authority.trustDomain, pem: text) else {
            return .unreadable("it is no bundle")
        }
        return Set(bundle.authorities) == Set(authority.bundle.current.authorities) ? .same : .different
    }

    /// Those that are there: an authority whose store is elsewhere has no file of it.
    private func files() -> [AuthorityFacts.File] {
        var files = [file("data-directory", dataDirectory, repairMode: "700")]
        for (check, name) in [("sealing-key", "authority.key"), ("store", "authority.sqlite")] {
            let path = "\(dataDirectory)/\(name)"
            if check == "sealing-key" || TextFile.exists(path) { files.append(file(check, path)) }
        }
        files.append(file("admin-socket", adminSocket))
        return files
    }

    private func file(_ check: String, _ path: String, repairMode: String = "600") -> AuthorityFacts.File {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            return AuthorityFacts.File(
                check: check, path: path, mode: 0, isOurs: false, problem: String(cString: strerror(errno)))
        }
        return AuthorityFacts.File(
            check: check, path: path, mode: status.st_mode & 0o7777, repairMode: repairMode,
            isOurs: status.st_uid == geteuid())
    }

    private func diskFree() -> UInt64? {
        var status = statvfs()
        guard statvfs(dataDirectory, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
}
