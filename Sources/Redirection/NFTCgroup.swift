import Glibc
import LinuxNetworking

/// The cgroup by which netfilter tells the proxy's sockets from an application's that claims the proxy's mark: anybody with CAP_NET_RAW can
/// set a mark, and nobody in a pod can enter a cgroup of the node.
public struct NFTCgroup: Hashable, Sendable {
    /// nft(8) looks for names of cgroups below this, and nowhere else.
    static let base = "/sys/fs/cgroup"
    let directory: String
    /// Below `base`.
    let path: String
    /// How deep it is below the root of the unified hierarchy.
    let level: Int

    /// Tries it in a network namespace made for it. Throws `noCgroups` with the reason when kernel or nft(8) do not know the proxy this way.
    public init(
        _ directory: String, nftPath: String? = nil, timeout: Duration = .seconds(10)
    ) throws(RedirectionError) {
        let root = try Cgroup.root()
        guard let place = NFTCgroup.place(of: directory, root: root) else {
            throw .noCgroups("\(directory) is not a cgroup below \(root), or that is not below \(NFTCgroup.base)")
        }
        try NFTCgroup.checkNamespace()
        self.directory = directory
        (path, level) = place
        _ = try identifier()
        var plan = RedirectionPlan()
        plan.proxyCgroup = self
        let nft = try NFTCommand(path: nftPath, timeout: timeout)
        let scratch = try kernelCall { () throws(Errno) in try NetworkNamespace.make() }
        do throws(RedirectionError) {
            try scratch.entered { () throws(RedirectionError) in try nft.apply(NFTRuleset.render(plan)) }
        } catch .nftFailed(_, let message) {
            throw .noCgroups("nft does not match sockets by their cgroup: \(message)")
        }
    }

    /// Throws `noCgroups` where the kernel would take another cgroup for the one that is meant.
    static func checkNamespace() throws(RedirectionError) {
        guard CgroupNamespace.isFirst else { throw .noCgroups("the agent is in a cgroup namespace of its own") }
    }

    /// Without the cgroup's being there: for what is pure.
    init(directory: String, path: String, level: Int) {
        self.directory = directory
        self.path = path
        self.level = level
    }

    /// `nil` for what nft has no name for.
    static func place(of directory: String, root: String) -> (path: String, level: Int)? {
        let parts = directory.split(separator: "/")
        let (rootParts, baseParts) = (root.split(separator: "/"), base.split(separator: "/"))
        guard directory.hasPrefix("/"), !parts.contains("."), !parts.contains(".."), rootParts.starts(with: baseParts),
            parts.starts(with: rootParts), parts.count > rootParts.count, parts.count - rootParts.count < 256,
            // nft has no way to quote these.
            !directory.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") })
        else { return nil }
        return (parts.dropFirst(baseParts.count).joined(separator: "/"), parts.count - rootParts.count)
    }

    /// The cgroup that is at the path now: another one than before, if it was removed and made again.
    func identifier() throws(RedirectionError) -> UInt64 { try Cgroup.identifier(of: directory) }

    /// Why a process is not the proxy whose connections are not captured; nil when it is.
    public func obstacle(toProxy pid: Int32) -> String? {
        do throws(RedirectionError) {
            return Cgroup.obstacle(toProxy: pid, in: directory, identifier: try identifier())
        } catch {
            return "the proxy's cgroup is not there: \(error)"
        }
    }

    private static let expression = "socket cgroupv2 level "

    /// The cgroup one level below, of a socket that is in one.
    var below: String { "\(NFTCgroup.expression)\(level + 1)" }

    func match(_ cgroup: String) -> String { "\(NFTCgroup.expression)\(level) \(cgroup)" }

    /// A listing with every cgroup by its number, as the kernel has it. nft lists the name of whichever directory has the number, and on a
    /// node with several hierarchies that is not always the same.
    static func numbered(_ listing: String) -> String {
        listing.split(separator: "\n", omittingEmptySubsequences: false).map { (line: Substring) -> String in
            guard let start = line.firstRange(of: expression)?.upperBound,
                let opening = line[start...].firstIndex(of: "\""),
                let closing = line[line.index(after: opening)...].firstIndex(of: "\"")
            else { return String(line) }
            let name = line[line.index(after: opening)..<closing]
            guard let number = try? Cgroup.identifier(of: "\(base)/\(name)") else { return String(line) }
            return line[..<opening] + String(number) + line[line.index(after: closing)...]
        }.joined(separator: "\n")
    }
}
