public import ArgumentParser
import LinuxNetworking
import Logging
import NodeAgent
public import Redirection

/// `--probes`
enum ProbeOption: String, CaseIterable, ExpressibleByArgument {
    case auto, flow, snat, off
}

extension ProbeSource: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

/// How the kubelet's connections to strict pods are told from others, decided once when the agent starts.
struct ProbeRecognition {
    /// Rules cannot ask the guard themselves.
    private(set) var marker: ProbeMarker?
    private(set) var translation: ProbeTranslation?
    let choice: AgentReport.Choice

    init(
        _ option: ProbeOption, source: ProbeSource, podGuard: PodGuard?, isEBPF: Bool, pinDirectory: String,
        logger: Logger
    ) throws {
        var reasons: [String] = []
        var chosen: ProbeOption?
        if option == .auto || option == .flow {
            do {
                marker = try Self.flow(podGuard, isEBPF: isEBPF, pinDirectory: pinDirectory)
                chosen = .flow
                reasons.append("the guard notes them, and the pod finds them")
            } catch {
                reasons.append("flow cannot be used: \(error)")
            }
        }
        if chosen == nil, option == .auto || option == .snat {
            do {
                translation = try ProbeTranslation(host: .current(), source: source)
                chosen = .snat
                reasons.append("the node gives them a source of their own")
            } catch {
                reasons.append("snat cannot be used: \(error)")
            }
        }
        guard let chosen = chosen ?? (option == .flow || option == .snat ? nil : .off) else {
            throw CommandFailure(
                "--probes \(option.rawValue): \(reasons.joined(separator: "; "))",
                hint: "use --probes auto, or off, which refuses the probes of strict pods")
        }
        if option == .off { reasons.append("asked for") }
        choice = AgentReport.Choice(
            chosen: chosen.rawValue, asked: option.rawValue, reason: reasons.joined(separator: "; "))
        logger.log(
            level: chosen == .off && option == .auto ? .error : .info, "How the kubelet's probes are recognised",
            metadata: ["probes": "\(chosen.rawValue)", "reason": "\(choice.reason)"])
        if translation == nil { removeEarlier(logger) }
    }

    private static func flow(_ podGuard: PodGuard?, isEBPF: Bool, pinDirectory: String) throws -> ProbeMarker? {
        guard podGuard != nil else { throw CommandFailure("there is no guard to note them") }
        if isEBPF { return nil }
        let marker = try ProbeMarker(directory: pinDirectory)
        do throws(RedirectionError) {
            try marker.selfTest()
        } catch {
            marker.removeIfUnused()
            throw error
        }
        return marker
    }

    /// An agent before this one may have left its rules.
    private func removeEarlier(_ logger: Logger) {
        do {
            try ProbeTranslation.remove(from: .current())
        } catch {
            logger.error(
                "Rules that an earlier agent gave the kubelet's probes a source by are still there",
                metadata: ["reason": "\(error)"])
        }
    }
}
