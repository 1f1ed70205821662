public import IPAddressing
import Logging
public import Redirection

/// Whose connections to strict pods are the kubelet's, for its probes.
public enum ProbeExemption: Hashable, Sendable {
    /// Nobody's.
    case none
    /// Those of this cgroup.
    case cgroup(String)
    /// Those of the cgroup of the process that is called like the kubelet.
    case discovered
}

/// Gives the kubelet's connections to strict pods a source by which the pods know them.
public protocol ProbeTranslator: Sendable {
    var source: ProbeSource { get }
    /// From now on connections of this cgroup, the kubelet's, reach the pods with these addresses; nil for nobody's.
    func update(kubelet cgroup: String?, pods: Set<IPAddress>) throws
    /// Puts back what somebody has changed; false when nothing was.
    func repair() throws -> Bool
    /// Of what was installed, to compare with what is there.
    var digest: String? { get }
    /// Called at the end, when nothing is to stay behind.
    func remove() throws
}

extension ProbeTranslation: ProbeTranslator {}

/// Keeps those told which cgroup is the kubelet's who let it through: it becomes another one whenever the kubelet is restarted by its
/// supervisor.
struct KubeletWatch {
    private enum Finding: Hashable, CustomStringConvertible {
        case nobody
        case cgroup(String)
        case failed(String)

        var description: String {
            switch self {
            case .nobody: "nobody's"
            case .cgroup(let path): path
            case .failed(let reason): "nobody's: \(reason)"
            }
        }
    }

    private let exemption: ProbeExemption
    /// In its place the guard would recognise the kubelet.
    private let translator: (any ProbeTranslator)?
    private let logger: Logger
    private var told: Finding?
    private var cgroup: String?
    /// As of the last look; nil before, and without a guard.
    private(set) var counts: ProbeCounts?
    /// How often the translation was found changed.
    private(set) var drifts = 0
    /// For the status; nil before the first look.
    var trusted: String? { told?.description }
    var digest: String? { translator?.digest }

    init(_ exemption: ProbeExemption, translator: (any ProbeTranslator)? = nil, logger: Logger) {
        self.exemption = exemption
        self.translator = translator
        self.logger = logger
    }

    /// To be called from time to time. Each finding is logged once, until another follows. `pods` are the addresses of the strict ones.
    mutating func look(_ podGuard: (any MeshGuard)?, pods: Set<IPAddress>) {
        if translator != nil { repair() }
        report(trust(podGuard, pods))
        if translator == nil, let podGuard { reportMisses(podGuard) }
    }

    /// To be called whenever the pods may be others, and before they are enrolled.
    mutating func follow(pods: Set<IPAddress>) {
        guard let translator, case .cgroup = told else { return }
        do { try translator.update(kubelet: cgroup, pods: pods) } catch { report(.failed("\(error)")) }
    }

    mutating func end() {
        do { try translator?.remove() } catch {
            logger.error("Rules for the kubelet's probes not removed", metadata: ["reason": "\(error)"])
        }
    }

    private mutating func trust(_ podGuard: (any MeshGuard)?, _ pods: Set<IPAddress>) -> Finding {
        do {
            cgroup =
                switch exemption {
                case .none: nil
                case .cgroup(let path): path
                case .discovered: try Kubelet.cgroup()
                }
            guard podGuard != nil || translator != nil || exemption == .none else {
                return .failed("there is no guard")
            }
            try podGuard?.reserve(translator?.source)
            try podGuard?.trust(kubelet: translator == nil ? cgroup : nil)
            try translator?.update(kubelet: cgroup, pods: pods)
            return cgroup.map(Finding.cgroup) ?? .nobody
        } catch {
            // Whoever was trusted before may have gone, and its cgroup be another's.
            try? podGuard?.trust(kubelet: nil)
            try? translator?.update(kubelet: nil, pods: [])
            return .failed("\(error)")
        }
    }

    private mutating func repair() {
        do {
            guard try translator?.repair() == true else { return }
            drifts += 1
            logger.warning("Rules for the kubelet's probes were changed by somebody; put back")
        } catch {
            logger.error("Rules for the kubelet's probes cannot be looked at", metadata: ["reason": "\(error)"])
        }
    }

    private mutating func report(_ finding: Finding) {
        guard finding != told else { return }
        told = finding
        switch finding {
        case .nobody: logger.info("No kubelet: plaintext to strict pods is refused, probes too")
        case .cgroup(let path): logger.info("Kubelet's probes reach strict pods", metadata: ["cgroup": "\(path)"])
        case .failed(let reason):
            logger.error("Kubelet's probes of strict pods are refused", metadata: ["reason": "\(reason)"])
        }
    }

    private mutating func reportMisses(_ podGuard: any MeshGuard) {
        guard let counts = try? podGuard.probeCounts() else { return }
        if let before = self.counts, counts.missed > before.missed {
            logger.warning(
                "Probes were not recognised in the pod, and refused",
                metadata: ["missed": "\(counts.missed)", "passed": "\(counts.passed)"])
        }
        self.counts = counts
    }
}
