import Glibc
import LinuxNetworking
public import Logging
public import Redirection

/// What there is of Culvert on this node: read from the kernel, whether an agent runs or not; and from the report that the agent left,
/// what only the agent knows.
public struct NodeStatus: Sendable {
    public struct Pod: Sendable {
        public let uid: String
        /// What the agent says of it.
        public var report: AgentReport.Pod?
        public var netns: String?
        public var backend: CaptureKind?
        public var capture: [CapturePart] = []
        /// The proxy's.
        public var listeners: [CapturePart] = []
        public var guarded: GuardFindings?
        public var refused: [GuardCount] = []
        /// Of the rules; nil with the other backend.
        public var redirected: RedirectionCounters?
        /// What goes around the proxy.
        public var exclusions: [String] = []
        /// What could not be looked at, and why.
        public var problems: [String] = []

        /// The names of what is not there, or is not as it should be.
        public var missing: [String] {
            (capture + listeners + (guarded?.parts ?? [])).missing
        }
    }

    public let isAgentAlive: Bool
    public let report: AgentReport?
    public let kernel: KernelFeatures
    /// What there is of the rules for the kubelet's probes; and whether it is as the agent has installed it, where it has.
    public let translation: ProbeTranslation.Findings?
    public let translationParts: [CapturePart]
    public let pods: [Pod]

    /// Nothing is missing of any pod, an agent is there to keep it so, and a proxy to carry it.
    public var isSound: Bool {
        isAgentAlive && hasProxy && translationParts.missing.isEmpty
            && pods.allSatisfy { $0.missing.isEmpty && $0.problems.isEmpty && $0.report?.failure == nil }
    }

    /// One that is given pods.
    public var hasProxy: Bool { isAgentAlive && report?.proxies.contains { $0.refusal == nil } ?? false }

    /// `pinDirectory` is used if the agent's report names no other. For a process in the node's own network namespace.
    public init(runDirectory: String, pinDirectory: String, logger: Logger) throws {
        isAgentAlive = AgentDirectory.isInUse(runDirectory)
        let report = AgentDirectory.report(of: runDirectory).read()
        self.report = report
        let pins = report?.pinDirectory ?? pinDirectory
        kernel = KernelFeatures(pinDirectory: pins)
        let directory = AgentDirectory.pods(of: runDirectory)
        let records =
            access(directory, F_OK) == 0 ? try PodRecordDirectory(path: directory, logger: logger).all() : [:]
        let reported = Dictionary((report?.pods ?? []).map { ($0.uid, $0) }) { first, _ in first }
        let host = try NetworkNamespace.current()
        translation = try ProbeTranslation.look(in: host)
        translationParts = ProbeTranslation.parts(translation, of: report?.probeRules)
        pods = Set(records.keys).union(PodGuard.podsPinned(pins)).union(reported.keys).sorted().map { uid in
            NodeStatus.look(
                at: uid, records[uid], reported[uid], report: report, directory: directory, pins: pins, host: host)
        }
    }

    private static func look(
        at uid: String, _ record: PodRecord?, _ reported: AgentReport.Pod?, report: AgentReport?, directory: String,
        pins: String, host: NetworkNamespace
    ) -> Pod {
        var pod = Pod(uid: uid, report: reported, netns: record?.netns)
        func attempt(_ what: String, _ body: () throws -> Void) {
            do { try body() } catch { pod.problems.append("\(what): \(error)") }
        }
        guard let record else {
            pod.problems.append(
                reported == nil
                    ? "no record of it: `culvert agent cleanup` removes what is left" : "it is not redirected")
            return pod
        }
        guard let namespace = NodeStatus.namespace(of: record) else {
            pod.problems.append("its network namespace is gone from \(record.netns)")
            return pod
        }
        attempt("capture") {
            let redirection = try PodRedirection(
                pod: uid, namespace: namespace, stateDirectory: directory, pinDirectory: pins)
            let chosen = report.flatMap { CaptureKind(rawValue: $0.backend.chosen) }
            let (backend, parts) = try redirection.parts(chosen)
            pod.backend = backend
            pod.capture = parts
            pod.exclusions = try redirection.exclusions()?.words ?? []
            pod.listeners = try redirection.listeners()
            if backend == .nft { pod.redirected = try redirection.counters() }
        }
        if report?.guardMode != "off" {
            attempt("guard") {
                pod.guarded = try PodGuard.inspect(pod: uid, in: namespace, host: host, directory: pins)
                pod.refused = try PodGuard.counts(ofPod: uid, directory: pins)
            }
        }
        return pod
    }

    /// nil when it is gone, also if another one is at its path now.
    static func namespace(of record: PodRecord) -> NetworkNamespace? {
        guard let found = try? NetworkNamespace(path: record.netns), NamespaceID(found) == record.namespace else {
            return nil
        }
        return found
    }
}

extension NodeCleanup {
    /// With the pods that are on record in a run directory. For a process in the node's own network namespace.
    public init(runDirectory: String, pinDirectory: String, paths: [String], logger: Logger) throws {
        let directory = AgentDirectory.pods(of: runDirectory)
        let records =
            access(directory, F_OK) == 0 ? try PodRecordDirectory(path: directory, logger: logger).all() : [:]
        self.init(
            pods: records.values.sorted { $0.uid < $1.uid }.map {
                Pod(uid: $0.uid, namespace: NodeStatus.namespace(of: $0))
            },
            stateDirectory: directory, pinDirectory: pinDirectory, host: try .current(), paths: paths)
    }

    /// Of pods whose redirection is gone; and what a reboot has left behind.
    public static func removeRecords(in runDirectory: String) {
        let directory = AgentDirectory.pods(of: runDirectory)
        for name in (try? Directory.entries(directory)) ?? [] { unlink(directory + "/" + name) }
    }
}
