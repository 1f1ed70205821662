import Glibc
public import IPAddressing
public import LinuxNetworking
import Synchronization

/// Gives the kubelet's connections to strict pods a source of their own, by rules in the node's network namespace, and refuses that
/// source to everybody else. It needs no program on the pods' interfaces, and conntrack on the node.
///
/// The rules are two tables of their own: they outlive the agent, and the next one puts its own in their place in one transaction.
public final class ProbeTranslation: Sendable {
    private struct Installed {
        let ruleset: ProbeRuleset
        let kubelet: UInt64?
        let digest: String
    }

    public let source: ProbeSource
    private let host: NetworkNamespace
    private let nft: NFTCommand
    private let installed = Mutex<Installed?>(nil)

    /// Tries it in a network namespace made for it; the node is not touched yet.
    ///
    /// Throws `nftMissing`, `nftFailed`, or `noCgroups` when nft(8) cannot tell the kubelet's sockets from others here.
    public init(
        host: NetworkNamespace, source: ProbeSource = .standard, nftPath: String? = nil,
        timeout: Duration = .seconds(10)
    ) throws(RedirectionError) {
        self.host = host
        self.source = source
        nft = try NFTCommand(path: nftPath, timeout: timeout)
        try NFTCgroup.checkNamespace()
        let ruleset = ProbeRuleset(source: source, kubelet: nil, pods: []).text(ProbeTranslationCounts())
        let scratch = try kernelCall { () throws(Errno) in try NetworkNamespace.make() }
        let nft = nft
        try scratch.entered { () throws(RedirectionError) in try nft.apply(ruleset) }
    }

    /// From now on connections of sockets that were made in this cgroup, and in none below it, reach these addresses with the source; nil
    /// for nobody's. Nothing is done where that is so already.
    ///
    /// Throws `noCgroups` for a cgroup that is not the kubelet's alone; then nobody is given the source.
    public func update(kubelet cgroup: String?, pods: Set<IPAddress>) throws(RedirectionError) {
        try installed.withLock { (installed) throws(RedirectionError) in
            do throws(RedirectionError) {
                let identifier = try cgroup.map { (path) throws(RedirectionError) in try Kubelet.identifier(of: path) }
                let known = installed?.kubelet == identifier ? installed?.ruleset.kubelet : nil
                let kubelet =
                    if let known, known.directory == cgroup { known } else {
                        try cgroup.map { (path) throws(RedirectionError) in try NFTCgroup(path) }
                    }
                let wanted = ProbeRuleset(source: source, kubelet: kubelet, pods: pods)
                if let installed, installed.ruleset == wanted, installed.kubelet == identifier { return }
                installed = try install(wanted, kubelet: identifier)
            } catch {
                // Whoever was trusted before may have gone, and its cgroup be another's.
                let closed = ProbeRuleset(source: source, kubelet: nil, pods: [])
                if installed?.ruleset != closed { installed = try? install(closed, kubelet: nil) }
                throw error
            }
        }
    }

    /// Puts back what somebody has changed since `update`; false when nothing was.
    public func repair() throws(RedirectionError) -> Bool {
        try installed.withLock { (installed) throws(RedirectionError) in
            guard let before = installed, try Self.digest(nft, in: host) != before.digest else { return false }
            installed = try install(before.ruleset, kubelet: before.kubelet)
            return true
        }
    }

    private func install(_ ruleset: ProbeRuleset, kubelet: UInt64?) throws(RedirectionError) -> Installed {
        let nft = nft
        try host.entered { () throws(RedirectionError) in
            try nft.apply(ruleset.text(try Self.counts(nft) ?? ProbeTranslationCounts()))
        }
        return Installed(ruleset: ruleset, kubelet: kubelet, digest: try Self.digest(nft, in: host) ?? "")
    }

    /// Of the rules as they were installed, to compare with what `look` finds.
    public var digest: String? { installed.withLock { $0?.digest } }

    /// What of it is in a node's network namespace; no agent has to be there.
    public struct Findings: Hashable, Sendable {
        public let digest: String
        public let counts: ProbeTranslationCounts
    }

    /// nil when there is nothing; also without nft(8).
    public static func look(in host: NetworkNamespace) throws(RedirectionError) -> Findings? {
        guard let nft = try? NFTCommand(path: nil, timeout: .seconds(10)),
            let digest = try digest(nft, in: host)
        else { return nil }
        return Findings(
            digest: digest,
            counts: try host.entered { () throws(RedirectionError) in try counts(nft) } ?? ProbeTranslationCounts())
    }

    /// Whether what was found is what was installed; nothing is asked of it without `digest`.
    public static func parts(_ found: Findings?, of digest: String?) -> [CapturePart] {
        digest.map { [CapturePart("rules for the kubelet's probes", isPresent: found?.digest == $0)] } ?? []
    }

    /// Leaves no trace. Established connections go on: what is translated is in the kernel's table of connections.
    public static func remove(from host: NetworkNamespace) throws(RedirectionError) {
        guard try look(in: host) != nil, let nft = try? NFTCommand(path: nil, timeout: .seconds(10)) else { return }
        try host.entered { () throws(RedirectionError) in try nft.apply(ProbeRuleset.removal) }
    }

    public func remove() throws(RedirectionError) {
        try installed.withLock { (installed) throws(RedirectionError) in
            try Self.remove(from: host)
            installed = nil
        }
    }

    /// nil when neither table is there.
    private static func digest(_ nft: NFTCommand, in host: NetworkNamespace) throws(RedirectionError) -> String? {
        try host.entered { () throws(RedirectionError) in
            let tables = try ProbeRuleset.families.map { (family) throws(RedirectionError) in
                try nft.listing(family, ProbeRuleset.table).map(NFTCgroup.numbered)
            }
            guard tables.contains(where: { $0 != nil }) else { return nil }
            return RedirectionRecord.digest(tables.map { $0 ?? "none" }.joined(separator: "\n"))
        }
    }

    /// In the node's namespace; nil when there are none.
    private static func counts(_ nft: NFTCommand) throws(RedirectionError) -> ProbeTranslationCounts? {
        let found = try ProbeRuleset.families.map { (family) throws(RedirectionError) in
            try nft.counters(family, ProbeRuleset.table).map(RedirectionCounters.values) ?? [:]
        }
        guard found.contains(where: { !$0.isEmpty }) else { return nil }
        var counts = ProbeTranslationCounts()
        counts.given = found[0][ProbeRuleset.givenCounter] ?? 0
        counts.forged = found[0][ProbeRuleset.forgedCounter] ?? 0
        counts.bridged = found[1][ProbeRuleset.forgedCounter] ?? 0
        return counts
    }
}
