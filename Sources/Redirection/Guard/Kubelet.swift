import Glibc
import LinuxNetworking

/// Whose connections are the kubelet's: those of sockets made in its cgroup.
public enum Kubelet {
    /// As the kernel names it: by itself, in MicroK8s, in k3s and RKE2's server and agent.
    static let names: Set<String> = ["kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent"]

    /// What is known of a process with one of these names.
    struct Candidate: Hashable {
        let id: Int32
        let user: UInt32
        /// Has the mounts and the process numbers of the machine itself: any container can call a process what it likes.
        let isHosts: Bool
        /// Below the root of the unified hierarchy.
        let cgroup: String
    }

    /// The cgroup of the one that is meant; nil without any.
    static func choose(_ candidates: [Candidate]) throws(RedirectionError) -> String? {
        let found = Set(candidates.filter { $0.isHosts && $0.user == 0 }.map(\.cgroup))
        guard found.count <= 1 else {
            throw .noCgroups(
                "several processes are called as the kubelet is, in \(found.sorted().joined(separator: ", ")): "
                    + "--kubelet-cgroup says which one is meant")
        }
        return found.first
    }

    /// The directory of the cgroup that the kubelet of this machine is in; nil without a kubelet.
    public static func cgroup() throws(RedirectionError) -> String? {
        guard let path = try choose(candidates()) else { return nil }
        let root = try Cgroup.root()
        return path == "/" ? root : root + path
    }

    /// The identifier of a cgroup that can be the kubelet's: not that of the whole machine.
    static func identifier(of cgroup: String) throws(RedirectionError) -> UInt64 {
        guard let identifier = try Cgroup.identifier(below: try Cgroup.root(), of: cgroup) else {
            throw .noCgroups(
                "\(cgroup) is not a cgroup of the kubelet, below \(try Cgroup.root()): everybody else would pass for it"
            )
        }
        return identifier
    }

    private static func candidates() -> [Candidate] {
        ((try? Directory.entries("/proc")) ?? []).compactMap(Int32.init).compactMap(candidate)
    }

    /// nil for a process of another name, or that is gone.
    static func candidate(_ id: Int32) -> Candidate? {
        let directory = "/proc/\(id)"
        guard let name = (try? procLines(directory + "/comm"))?.first, names.contains(name),
            let cgroup = Cgroup.place(of: id)
        else { return nil }
        var status = stat()
        guard stat(directory, &status) == 0 else { return nil }
        let isHosts = ["mnt", "pid"].allSatisfy { kind in
            let own = link("\(directory)/ns/\(kind)")
            return own != nil && own == link("/proc/1/ns/\(kind)")
        }
        return Candidate(id: id, user: status.st_uid, isHosts: isHosts, cgroup: cgroup)
    }

    private static func link(_ path: String) -> String? {
        var bytes = [CChar](repeating: 0, count: 256)
        let count = readlink(path, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }
}

/// How often the kubelet opened a connection to a pod of a strict namespace; SYNs, so that one sent again counts again.
public struct ProbeCounts: Hashable, Sendable {
    /// Seen on the way to the pod.
    public let noted: UInt64
    /// Let through to the application.
    public let passed: UInt64
    public init(noted: UInt64, passed: UInt64) {
        self.noted = noted
        self.passed = passed
    }

    /// Seen on the way, and not recognised in the pod: refused as everybody's plaintext.
    public var missed: UInt64 { noted > passed ? noted - passed : 0 }
}
