/// Who of a cluster is enrolled. Agents capture by it, the authority issues by it, and `culvert status` explains by it: all of them
/// have to be given the same values, or pods are captured that get no identity.
public struct EnrolmentRule: Sendable, Hashable {
    /// Those that a cluster cannot do without, and that come up before Culvert does.
    public static let systemNamespaces: Set<String> = ["kube-system", "kube-public", "kube-node-lease"]

    /// The label that enrols a namespace with exactly `true`, and takes a single pod out with `false`.
    public let label: String
    /// Never enrolled, whatever their labels say.
    public let excludedNamespaces: Set<String>
    /// Where Culvert runs, if it runs in this cluster: its own pods there are not enrolled.
    public var ownNamespace: String?

    public init(
        label: String, excludedNamespaces: Set<String> = systemNamespaces, ownNamespace: String? = nil
    ) {
        self.label = label
        self.excludedNamespaces = excludedNamespaces
        self.ownNamespace = ownNamespace
    }

    public func enrolment(of namespace: Namespace) -> NamespaceEnrolment {
        switch namespace.metadata.labels[label] {
        case "true"?: excludedNamespaces.contains(namespace.name) ? .refused : .enrolled
        case nil, "false"?: .unlabelled
        case let value?: .otherValue(value)
        }
    }

    /// nil for a pod that is enrolled where its namespace is. What lasts is told rather than what passes.
    public func exclusion(of pod: Pod) -> PodExclusion? {
        let metadata = pod.metadata
        if pod.spec.hostNetwork { return .hostNetwork }
        if pod.namespace == ownNamespace, metadata.labels[PodExclusion.partOf.key] == PodExclusion.partOf.value {
            return .culvert
        }
        if metadata.annotations[PodExclusion.staticPodAnnotation] != nil { return .staticPod }
        if metadata.labels[label] == "false" { return .label }
        if pod.isTerminated { return .terminated }
        if pod.status.podIPs.isEmpty, pod.status.podIP == nil { return .noAddress }
        return nil
    }

    /// Whether the rule looks at the pod's label: others need not be kept for it.
    public func reads(label key: String) -> Bool { key == label || key == PodExclusion.partOf.key }
}

/// Whether a namespace is enrolled, and why not.
public enum NamespaceEnrolment: Sendable, Hashable {
    case enrolled
    /// Nobody asked.
    case unlabelled
    /// The label is there, with another value than `true` and `false`, which are not guessed at.
    case otherValue(String)
    /// The label says `true`, and is not followed.
    case refused

    /// What somebody asked for and does not get; nil for nothing. `label` is the label's key.
    public func problem(label: String) -> String? {
        switch self {
        case .enrolled, .unlabelled: nil
        case .otherValue(let value): "\(label)=\(value) enrols nothing: only exactly true does"
        case .refused: "\(label)=true is not followed: it is one of the namespaces that are never enrolled"
        }
    }
}

/// Why a pod of an enrolled namespace is not enrolled.
public enum PodExclusion: UInt8, Sendable, Hashable, CaseIterable {
    /// Its own label says `false`.
    case label
    /// It is in its node's network namespace: redirecting it would redirect the node.
    case hostNetwork
    /// It is a part of Culvert, which carries the others' connections.
    case culvert
    /// The kubelet has it from a file, and knows it by another uid than the API.
    case staticPod
    /// It has ended for good.
    case terminated
    /// The kubelet has not told its address yet: its sandbox is being made.
    case noAddress

    /// The label by which Culvert's own pods are known, in Culvert's own namespace. Anywhere else it is anybody's word.
    public static let partOf = (key: "app.kubernetes.io/part-of", value: "culvert")

    /// On the API's copy of a static pod.
    public static let staticPodAnnotation = "kubernetes.io/config.mirror"

    /// What is to be expected, rather than somebody's doing.
    public var isPassing: Bool { self == .noAddress || self == .terminated }

    /// For a person. `enrolmentLabel` is the label's key.
    public func text(enrolmentLabel: String) -> String {
        switch self {
        case .label: "its own label \(enrolmentLabel) says false"
        case .hostNetwork: "it uses its node's network"
        case .culvert: "it is a part of Culvert"
        case .staticPod: "it is a static pod"
        case .terminated: "it has ended"
        case .noAddress: "it has no address yet"
        }
    }
}
