import Glibc
import LinuxNetworking

/// By what the kernel knows the proxy from the applications whose network namespaces it works in.
public enum ProxyRecognition: Hashable, Sendable {
    /// A cgroup of its own that is known beforehand: a directory of the unified hierarchy.
    case cgroup(String)
    /// Whichever cgroup a process is in that connects to the agent's socket, which only root of the node can: a container has
    /// another one each time it is started.
    case connection
}

/// The cgroups whose processes are not captured, in the kernel's map of them.
final class ProxyCgroups: Sendable {
    /// The one that is known beforehand.
    let fixed: UInt64?
    private let directory: String
    private let root: String
    private let map: BPFMap<UInt64, UInt32>

    /// With `.connection` those stay that an earlier agent has let in: their proxies are at work.
    init(_ recognition: ProxyRecognition, root: String, map: BPFMap<UInt64, UInt32>) throws(RedirectionError) {
        self.root = root
        self.map = map
        switch recognition {
        case .connection: (fixed, directory) = (nil, "")
        case .cgroup(let path):
            guard let identifier = try Cgroup.identifier(below: root, of: path) else {
                throw .noCgroups("\(path) is not a cgroup of the proxy alone, below \(root)")
            }
            (fixed, directory) = (identifier, path)
            for other in try map.keys(blank: 0) where other != identifier { try map.remove(other) }
        }
        try restore()
    }

    func restore() throws(RedirectionError) {
        if let fixed { try map.set(fixed, 1) }
    }

    /// Why a process is not the proxy; nil when it is, and its connections go out as they are from now on.
    func obstacle(to pid: Int32) throws(RedirectionError) -> String? {
        if let fixed { return Cgroup.obstacle(toProxy: pid, in: directory, identifier: fixed) }
        guard let path = try Cgroup.path(of: pid) else {
            return "the proxy, process \(pid), has no cgroup that can be seen from here (hostPID is needed)"
        }
        guard let cgroup = try Cgroup.identifier(below: root, of: path) else {
            return "the proxy, process \(pid), is in the root of the cgroups, as anybody may be: start it with --cgroup"
        }
        if try map.value(of: cgroup, blank: 0) != nil { return nil }
        // What they connect would leave in plaintext. Whoever comes later was started there by somebody who may do that.
        if let other = try Cgroup.processes(in: path).first(where: { $0 != pid }) {
            return "the proxy, process \(pid), shares cgroup \(path) with process \(other): start it with --cgroup"
        }
        let living = try Cgroup.identifiers(below: root)
        for gone in try map.keys(blank: 0) where !living.contains(gone) { try map.remove(gone) }
        try map.set(cgroup, 1)
        return nil
    }
}
