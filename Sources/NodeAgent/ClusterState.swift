public import IPAddressing
public import MeshState
public import Redirection
public import SPIFFE

/// Everything that the agent knows of the cluster at one moment: the pods of all nodes, namespaces and services.
public struct ClusterState: Hashable, Sendable {
    public struct Pod: Hashable, Sendable {
        public let uid: String
        public let name: String
        public let namespace: String
        public let serviceAccount: String
        public let node: String
        public let addresses: [IPAddress]
        /// The path of its network namespace on its node; nil where it has none of its own, or where it is still to be found.
        public var netns: String?
        /// Has a network namespace of its own, whether or not it is known where.
        public let isEnterable: Bool
        public let labels: [String: String]
        /// The services that it is an endpoint of, with its own ports where they differ from the service's.
        public let services: [ServiceName: [UInt16: UInt16]]
        /// What goes around the proxy, its namespace's share included.
        public let exclusions: PodExclusions
        /// Takes no plaintext once it is enrolled: its namespace is strict.
        public let isStrict: Bool

        public init(
            uid: String, name: String, namespace: String, serviceAccount: String, node: String, addresses: [IPAddress],
            netns: String?, isEnterable: Bool? = nil, labels: [String: String] = [:],
            services: [ServiceName: [UInt16: UInt16]] = [:],
            exclusions: PodExclusions = PodExclusions(), isStrict: Bool = false
        ) {
            self.uid = uid
            self.name = name
            self.namespace = namespace
            self.serviceAccount = serviceAccount
            self.node = node
            self.addresses = addresses
            self.netns = netns
            self.isEnterable = isEnterable ?? (netns != nil)
            self.labels = labels
            self.services = services
            self.exclusions = exclusions
            self.isStrict = isStrict
        }

        /// How its connections are captured.
        var plan: RedirectionPlan {
            var plan = RedirectionPlan()
            plan.exclusions = exclusions
            // Others take plaintext from anybody, by way of the proxy.
            plan.isProbed = isStrict
            return plan
        }
    }

    public let trustDomain: TrustDomain
    /// The label that enrols a namespace with `true`, and takes a single pod out with `false`.
    public let enrolmentLabel: String
    /// Labels by the name of the namespace.
    public let namespaces: [String: [String: String]]
    public let pods: [Pod]
    public let services: [Service]
    /// What pods and services have their addresses from; empty when that is not known.
    public let ranges: Set<IPPrefix>

    public init(
        trustDomain: TrustDomain, enrolmentLabel: String, namespaces: [String: [String: String]],
        pods: [Pod], services: [Service], ranges: Set<IPPrefix> = []
    ) {
        self.trustDomain = trustDomain
        self.enrolmentLabel = enrolmentLabel
        self.namespaces = namespaces
        self.pods = pods
        self.services = services
        self.ranges = ranges
    }

    /// Whether a pod's connections go through the proxy.
    ///
    /// Exactly `true` enrols and exactly `false` takes out, as Cilium and Istio have it: other spellings are not guessed
    /// at. A pod without a network namespace of its own cannot be entered: redirecting it would redirect its node.
    public func isEnrolled(_ pod: Pod) -> Bool {
        pod.isEnterable && namespaces[pod.namespace]?[enrolmentLabel] == "true"
            && pod.labels[enrolmentLabel] != "false"
    }

    /// The pods of a node that are to be enrolled.
    public func enrolledPods(of node: String) -> [Pod] {
        pods.filter { $0.node == node && isEnrolled($0) }
    }
}
