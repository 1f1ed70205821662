import CLibBPF
import Glibc
import IPAddressing
public import LinuxNetworking

/// Everything of Culvert's on a node, found without an agent: by the records, by the pins, by the rules in every network namespace
/// that can be reached, and by the filters on the node's interfaces.
public struct NodeCleanup: Sendable {
    /// One thing to remove. May be repeated.
    public struct Step: Sendable {
        /// For a person: what it is, and where.
        public let what: String
        let act: @Sendable () throws(RedirectionError) -> Void

        public func perform() throws(RedirectionError) { try act() }
    }

    /// A pod on record, and where its namespace is now.
    public struct Pod: Sendable {
        public let uid: String
        public let namespace: NetworkNamespace?

        public init(uid: String, namespace: NetworkNamespace?) {
            self.uid = uid
            self.namespace = namespace
        }
    }

    private let pods: [Pod]
    private let stateDirectory: String
    private let pinDirectory: String
    private let host: NetworkNamespace
    private let paths: [String]

    /// Looks into the network namespaces at `paths`, and no others besides the pods'; into all that can be reached if it is empty.
    public init(
        pods: [Pod], stateDirectory: String, pinDirectory: String, host: NetworkNamespace, paths: [String] = []
    ) {
        self.paths = paths
        self.pods = pods
        self.stateDirectory = stateDirectory
        self.pinDirectory = pinDirectory
        self.host = host
    }

    /// What is there now, in the order in which it is to be removed: what captures connections before the guard, which so
    /// stands until the end.
    public func steps() throws(RedirectionError) -> [Step] {
        try podSteps() + namespaceSteps() + probeSteps() + filterSteps() + pinSteps()
    }

    private func podSteps() -> [Step] {
        pods.map { pod in
            let (directory, pins) = (stateDirectory, pinDirectory)
            guard let namespace = pod.namespace else {
                return Step(what: "record of pod \(pod.uid), whose network namespace is gone") {
                    () throws(RedirectionError) in
                    try PodRedirection.forget(pod: pod.uid, stateDirectory: directory, pinDirectory: pins)
                }
            }
            return Step(what: "redirection of pod \(pod.uid): rules, routes, programs; its sysctls as they were") {
                () throws(RedirectionError) in
                try PodRedirection(pod: pod.uid, namespace: namespace, stateDirectory: directory, pinDirectory: pins)
                    .remove()
                try PodRedirection.forget(pod: pod.uid, stateDirectory: directory, pinDirectory: pins)
            }
        }
    }

    // MARK: - Network namespaces

    private func namespaceSteps() throws(RedirectionError) -> [Step] {
        let recorded = pods.compactMap(\.namespace)
        var steps: [Step] = []
        for (path, namespace) in namespaces() where !recorded.contains(where: { $0.isSame(as: namespace) }) {
            let scratch = try PodRedirection(pod: "cleanup", namespace: namespace, stateDirectory: stateDirectory)
            guard let found = try scratch.unrecorded(), !found.isEmpty else { continue }
            steps.append(
                Step(
                    what: "\(found.joined(separator: ", ")) in network namespace \(path), of no pod on record; "
                        + "its sysctls (\(RequiredSetting.names)) stay as they are, as nobody knows what they were"
                ) { () throws(RedirectionError) in try scratch.removeUnrecorded() })
        }
        return steps
    }

    /// Of processes, and those that are mounted somewhere: each once.
    private func namespaces() -> [(path: String, namespace: NetworkNamespace)] {
        var known: Set<UInt64> = []
        var found: [(String, NetworkNamespace)] = []
        for path in paths.isEmpty ? NodeCleanup.reachable() : paths {
            var status = stat()
            guard stat(path, &status) == 0, !known.contains(UInt64(status.st_ino)),
                let namespace = try? NetworkNamespace(path: path)
            else { continue }
            known.insert(namespace.inode)
            found.append((path, namespace))
        }
        return found
    }

    private static func reachable() -> [String] {
        let processes = entries("/proc").filter { $0.allSatisfy(\.isNumber) }.map { "/proc/\($0)/ns/net" }
        let named = ["/run/netns", "/var/run/netns"].flatMap { directory in
            entries(directory).map { directory + "/" + $0 }
        }
        return named + mounted() + processes
    }

    private static func mounted() -> [String] {
        let lines = (try? procLines("/proc/self/mountinfo")) ?? []
        return lines.compactMap { line in
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 1, fields[dash + 1] == "nsfs" else {
                return nil
            }
            return String(fields[4])
        }
    }

    private static func entries(_ path: String) -> [String] { (try? Directory.entries(path)) ?? [] }

    // MARK: - The node

    private func probeSteps() throws(RedirectionError) -> [Step] {
        guard try ProbeTranslation.look(in: host) != nil else { return [] }
        let host = host
        return [
            Step(what: "rules that give the kubelet's probes a source: tables inet and bridge \(ProbeRuleset.table)") {
                () throws(RedirectionError) in try ProbeTranslation.remove(from: host)
            }
        ]
    }

    /// Guards that are filters; the others are links, and found by their pins.
    private func filterSteps() throws(RedirectionError) -> [Step] {
        // Without the library nothing of ours is there.
        guard cbpf_open_library() == 0 else { return [] }
        return try host.entered { () throws(RedirectionError) in
            let links = try kernelCall { () throws(Errno) in try RouteSocket().links() }
            var steps: [Step] = []
            for link in links where try GuardAttachment.hasFilters(interface: link.index) {
                let host = host
                steps.append(
                    Step(what: "guard on \(link.name), as filters of the traffic control") {
                        () throws(RedirectionError) in
                        try host.entered { () throws(RedirectionError) in
                            try GuardAttachment.removeFilters(interface: link.index)
                        }
                    })
            }
            return steps
        }
    }

    /// Of every layout, whoever left them.
    private func pinSteps() -> [Step] {
        let (directory, layouts) = (pinDirectory, PinDirectory.layouts(pinDirectory))
        guard !layouts.isEmpty else { return [] }
        let count = layouts.flatMap(PinDirectory.everything).count
        return [
            Step(what: "guards, hooks on the cgroups, and \(count) pins below \(directory)") {
                () throws(RedirectionError) in
                for path in layouts.flatMap(PinDirectory.everything) {
                    // Maps and programs refuse it; so do links that are detached.
                    _ = try BPFLink.open(pin: path)?.detachIfLink()
                    try PinDirectory.unpin(path)
                }
                try PinDirectory.removeTree(directory)
            }
        ]
    }
}

extension PodRedirection {
    /// What is in the namespace by its names alone.
    func unrecorded() throws(RedirectionError) -> [String]? {
        try inside { () throws(RedirectionError) in
            var found: [String] = []
            do throws(RedirectionError) {
                if try nft().listing() != nil { found.append("table inet \(NFTRuleset.table)") }
            } catch .nftMissing {
                // No rules without it.
            }
            try kernel { () throws(Errno) in
                let routes = try RouteSocket()
                for family in try families() {
                    if try routes.rules(family).contains(loopRule(family)) { found.append("rule \(family)") }
                    let isThere = try routes.routes(family, table: RedirectionPlan.loopTable).contains {
                        $0.kind == .local && $0.destination.length == 0 && $0.link == 1
                    }
                    if isThere { found.append("route \(family)") }
                }
            }
            return found
        }
    }

    func removeUnrecorded() throws(RedirectionError) {
        for step in [Removal.connections, .rules, .routing] { try perform(step) }
    }
}
