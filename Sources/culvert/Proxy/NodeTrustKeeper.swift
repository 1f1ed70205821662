import Logging
import SPIFFE
import Synchronization
import X509

/// A node's trust in its authority, with the files that it comes from and is kept in.
///
/// `bundle.json` in the state directory is the bundle that the authority sent last, `withdrawn.pem` the roots that it has withdrawn. Neither
/// is a secret; whoever can write there holds the node's own key, too.
final class NodeTrustKeeper: Sendable {
    private let path: (bundle: String, withdrawn: String)
    private let bundleFile: String
    private let logger: Logger
    private let trust: Mutex<NodeTrust>

    /// `bundle` is what `bundleFile` held at the start.
    init(bundle: TrustBundle, bundleFile: String, directory: String, logger: Logger) {
        path = ("\(directory)/bundle.json", "\(directory)/withdrawn.pem")
        self.bundleFile = bundleFile
        self.logger = logger
        trust = Mutex(NodeTrust(file: bundle))
    }

    var current: NodeTrust { trust.withLock { $0 } }

    /// For the connections to the authority.
    var forAuthority: TrustBundle {
        get throws { try current.forAuthority }
    }

    /// What an earlier process received. A file that cannot be read is an error: without it, what was withdrawn would be trusted again.
    func load() throws {
        let domain = current.file.trustDomain
        do {
            let withdrawn =
                TextFile.exists(path.withdrawn)
                ? try TrustBundle(trustDomain: domain, pem: try TextFile.read(path.withdrawn)).authorities : []
            let received =
                TextFile.exists(path.bundle)
                ? try TrustBundle(trustDomain: domain, jwks: try TextFile.read(path.bundle).utf8) : nil
            trust.withLock { $0 = NodeTrust(file: $0.file, received: received, withdrawn: withdrawn) }
        } catch {
            throw CommandFailure(
                "what this node knows of its authority cannot be read: \(error)",
                hint: "remove \(path.bundle) and \(path.withdrawn) if the file of --ca-bundle is known to be good")
        }
    }

    /// Returns whether the bundle is used from now on; says in the log why not. What was withdrawn is on disk before anything is used.
    func accept(_ bundle: TrustBundle) -> Bool {
        let (acceptance, next) = trust.withLock { trust in
            (trust.accept(bundle), trust)
        }
        switch acceptance {
        case .accepted: break
        case .startsOver:
            logger.warning(
                "The authority is another one than before; the file of --ca-bundle vouches for it",
                metadata: ["sequence": "\(bundle.sequence)"])
        case .refused:
            logger.warning(
                "The authority sent an older trust bundle, or another under the same number; the present one stays",
                metadata: ["sequence": "\(bundle.sequence)"])
            return false
        }
        do {
            if !next.withdrawn.isEmpty || TextFile.exists(path.withdrawn) {
                try PublishedFile.write(next.withdrawn.map { $0.pem() }.joined(), to: path.withdrawn, mode: 0o600)
            }
            try PublishedFile.write(bundle.jwks() + "\n", to: path.bundle, mode: 0o600)
        } catch {
            logger.error("The trust bundle is used, but not kept for the next start", metadata: ["error": "\(error)"])
        }
        return true
    }

    /// Reads the operator's file again; returns whether it says something else than before.
    func readFileAgain() -> Bool {
        let domain = current.file.trustDomain
        do {
            let file = try TrustBundle(trustDomain: domain, pem: try TextFile.read(bundleFile))
            let isNew = trust.withLock { trust in
                defer { trust.file = file }
                return trust.file != file
            }
            if isNew {
                logger.notice(
                    "The bundle file has changed",
                    metadata: ["file": "\(bundleFile)", "roots": "\(file.authorities.count)"])
            }
            return isNew
        } catch {
            logger.warning(
                "The bundle file cannot be used; what it said before counts on",
                metadata: ["file": "\(bundleFile)", "error": "\(error)"])
            return false
        }
    }
}
