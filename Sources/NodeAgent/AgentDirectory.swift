import Glibc

/// The agent's directory on its node: sockets for the proxy, and what is on record about pods. One agent at a time.
///
/// Everything in it is its owner's alone, who may be trusted with every pod of the node.
public struct AgentDirectory: ~Copyable {
    public let path: String
    private let lock: Int32

    /// Where the proxy is given the node's pods.
    public var zdsSocket: String { path + "/zds.sock" }
    /// Where the proxy is told of the mesh.
    public var xdsSocket: String { path + "/xds.sock" }
    /// Which pods are redirected, one file each.
    public var pods: String { path + "/pods" }

    /// What it tells of itself.
    public var report: AgentReportFile { Self.report(of: path) }
    public static func report(of path: String) -> AgentReportFile { AgentReportFile(path: path + "/agent.status") }

    private static func lockFile(_ path: String) -> String { path + "/agent.lock" }

    /// Makes what is missing of it. Held until the value goes out of scope.
    public init(path: String) throws(AgentDirectoryError) {
        for directory in [path, path + "/pods"] where mkdir(directory, 0o700) != 0 && errno != EEXIST {
            throw .unusable(directory, "\(String(cString: strerror(errno)))")
        }
        let file = AgentDirectory.lockFile(path)
        let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .unusable(file, "\(String(cString: strerror(errno)))") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw .inUse(path)
        }
        self.path = path
        lock = descriptor
    }

    /// Removes what the agent made, as far as nothing of others and no pod's record is in it.
    public func removeIfEmpty() {
        // Of pods that stay it is still of use.
        if rmdir(pods) == 0 { report.remove() }
        unlink(AgentDirectory.lockFile(path))
        rmdir(path)
    }

    deinit { close(lock) }
}

public enum AgentDirectoryError: Error, Hashable, Sendable {
    case unusable(String, String)
    case inUse(String)
}

extension AgentDirectoryError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unusable(let path, let reason): "\(path) cannot be used: \(reason)"
        case .inUse(let path): "another agent uses \(path); stop it, or name another directory with --run-dir"
        }
    }
}
