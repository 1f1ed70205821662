import CNI
import Glibc
import LinuxNetworking

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
    /// Where the CNI plugin notes the network namespaces of pods, a file `<uid>` each with the path in its first line.
    public var notes: String { AgentFiles.notes(path) }
    /// Which pods are redirected, one file each.
    public var pods: String { Self.pods(of: path) }

    /// Whether an agent works in a directory now.
    public static func isInUse(_ path: String) -> Bool {
        let descriptor = open(lockFile(path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// Where the records of an agent's pods are.
    public static func pods(of path: String) -> String { path + "/pods" }

    /// Removes what an agent that has ended left there, besides the records of pods that could not be removed.
    public static func clear(_ path: String) {
        for name in [
            "zds.sock", "xds.sock", "cni.sock", "enrolled-namespaces", "agent.status", "agent.status.new", "agent.lock",
            "proxy.status", "proxy.status.new",
        ] {
            unlink(path + "/" + name)
        }
        for note in (try? Directory.entries(AgentFiles.notes(path))) ?? [] {
            unlink(AgentFiles.notes(path) + "/" + note)
        }
        rmdir(AgentFiles.notes(path))
        rmdir(pods(of: path))
        rmdir(path)
    }

    /// What it tells of itself.
    public var report: ReportFile<AgentReport> { Self.report(of: path) }
    public static func report(of path: String) -> ReportFile<AgentReport> {
        ReportFile<AgentReport>(path: path + "/agent.status")
    }

    private static func lockFile(_ path: String) -> String { path + "/agent.lock" }

    /// Makes what is missing of it. Held until the value goes out of scope.
    public init(path: String) throws(AgentDirectoryError) {
        for directory in [path, path + "/pods"] where mkdir(directory, 0o700) != 0 && errno != EEXIST {
            throw .unusable(directory, "\(String(cString: strerror(errno)))")
        }
        let file = AgentDirectory.lockFile(path)
        let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .unusable(file, "\(String(cString: strerror(errno)))") }
        // Somebody who only looks holds it for a moment.
        var attempts = 0
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            attempts += 1
            guard attempts < 10 else {
                close(descriptor)
                throw .inUse(path)
            }
            usleep(10_000)
        }
        self.path = path
        lock = descriptor
    }

    /// Removes what the agent made, as far as nothing of others and no pod's record is in it.
    public func removeIfEmpty() {
        // Of pods that stay it is still of use.
        if rmdir(pods) == 0 {
            report.remove()
            unlink(AgentFiles.enrolledNamespaces(path))
            for note in (try? Directory.entries(AgentFiles.notes(path))) ?? [] {
                unlink(AgentFiles.notes(path) + "/" + note)
            }
            rmdir(AgentFiles.notes(path))
        }
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
