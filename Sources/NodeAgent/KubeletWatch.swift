import Logging
import Redirection

/// Whose connections to strict pods are the kubelet's, for its probes.
public enum ProbeExemption: Hashable, Sendable {
    /// Nobody's.
    case none
    /// Those of this cgroup.
    case cgroup(String)
    /// Those of the cgroup of the process that is called like the kubelet.
    case discovered
}

/// Keeps the guard told which cgroup is the kubelet's: it becomes another one whenever the kubelet is restarted by its supervisor.
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
    private let logger: Logger
    private var told: Finding?
    /// As of the last look; nil before, and without a guard.
    private(set) var counts: ProbeCounts?
    /// For the status; nil before the first look.
    var trusted: String? { told?.description }

    init(_ exemption: ProbeExemption, logger: Logger) {
        self.exemption = exemption
        self.logger = logger
    }

    /// Each finding is logged once, until another follows.
    mutating func look(_ podGuard: any MeshGuard) {
        report(trust(podGuard))
        reportMisses(podGuard)
    }

    private func trust(_ podGuard: any MeshGuard) -> Finding {
        do {
            let cgroup: String? =
                switch exemption {
                case .none: nil
                case .cgroup(let path): path
                case .discovered: try Kubelet.cgroup()
                }
            try podGuard.trust(kubelet: cgroup)
            return cgroup.map(Finding.cgroup) ?? .nobody
        } catch {
            // Whoever was trusted before may have gone, and its cgroup be another's.
            try? podGuard.trust(kubelet: nil)
            return .failed("\(error)")
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
