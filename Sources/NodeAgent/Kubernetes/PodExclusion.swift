public import KubernetesAPI

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

    /// nil for a pod that is enrolled where its namespace is. `ownNamespace` is where Culvert runs, if it runs in this cluster.
    public init?(_ pod: Pod, enrolmentLabel: String, ownNamespace: String?) {
        let metadata = pod.metadata
        if pod.spec.hostNetwork {
            self = .hostNetwork
        } else if pod.namespace == ownNamespace, metadata.labels[Self.partOf.key] == Self.partOf.value {
            self = .culvert
        } else if metadata.annotations[Self.staticPodAnnotation] != nil {
            self = .staticPod
        } else if metadata.labels[enrolmentLabel] == "false" {
            self = .label
        } else if pod.isTerminated {
            self = .terminated
        } else if pod.status.podIPs.isEmpty, pod.status.podIP == nil {
            self = .noAddress
        } else {
            return nil
        }
    }

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

/// Which namespaces are enrolled, and why others are not.
public struct NamespaceEnrolment: Sendable, Hashable {
    /// Those that a cluster cannot do without, and that come up before Culvert does.
    public static let systemNamespaces: Set<String> = ["kube-system", "kube-public", "kube-node-lease"]

    public enum Verdict: Sendable, Hashable {
        case enrolled
        /// Nobody asked.
        case unlabelled
        /// The label is there, with another value than `true` and `false`, which are not guessed at.
        case otherValue(String)
        /// The label says `true`, and is not followed.
        case refused

        /// What somebody asked for and does not get; nil for nothing.
        public func problem(label: String) -> String? {
            switch self {
            case .enrolled, .unlabelled: nil
            case .otherValue(let value): "\(label)=\(value) enrols nothing: only exactly true does"
            case .refused: "\(label)=true is not followed: it is one of the namespaces that are never enrolled"
            }
        }
    }

    /// The label that enrols a namespace with exactly `true`.
    public let label: String
    /// Never enrolled, whatever their labels say.
    public let refused: Set<String>

    public init(label: String, refused: Set<String> = systemNamespaces) {
        self.label = label
        self.refused = refused
    }

    public func verdict(_ namespace: Namespace) -> Verdict {
        switch namespace.metadata.labels[label] {
        case "true"?: refused.contains(namespace.name) ? .refused : .enrolled
        case nil, "false"?: .unlabelled
        case let value?: .otherValue(value)
        }
    }
}
