import FoundationEssentials

/// What the agent writes on a pod, in an annotation: for people and for `culvert status`. The agent itself never reads it, since whoever
/// may edit the pod may write what they like there.
public struct PodEnrolmentStatus: Codable, Hashable, Sendable {
    public static let annotation = "culvert.dev/status"
    /// The condition of pods that name it in a readiness gate: such a pod is not ready before it is enrolled.
    public static let condition = "culvert.dev/enrolled"

    public enum State: String, Codable, Sendable {
        /// Its connections go through the proxy.
        case enrolled
        /// Not wholly enrolled: closed to traffic rather than open, if it was redirected at all.
        case waiting
        /// Taken out; the proxy still carries connections of old.
        case draining
    }

    public let state: State
    public let backend: String?
    /// Why it waits.
    public let reason: String?

    /// In bytes; what is longer is cut.
    private static let reasonMax = 512

    public init(state: State, backend: String? = nil, reason: String? = nil) {
        self.state = state
        self.backend = backend
        self.reason = reason.map { String(decoding: $0.utf8.prefix(Self.reasonMax), as: UTF8.self) }
    }

    /// nil while nothing is known of it yet.
    init?(_ pod: AgentReport.Pod, backend: String) {
        switch pod.phase {
        case "enrolled": self.init(state: .enrolled, backend: backend)
        case "waiting", "leaving": self.init(state: .waiting, reason: pod.failure)
        case "draining": self.init(state: .draining)
        default: return nil
        }
    }

    /// JSON in one line, with its members in the order of their names.
    public var text: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Three optional texts always are JSON.
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    /// nil for what `text` does not make.
    public init?(text: String) {
        guard let status = try? JSONDecoder().decode(PodEnrolmentStatus.self, from: Data(text.utf8)) else { return nil }
        self = status
    }
}
