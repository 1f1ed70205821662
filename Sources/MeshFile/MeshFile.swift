public import IPAddressing
public import SPIFFE

/// The whole mesh as an operator wrote it down: every pod, namespace and service, of all nodes.
///
/// A value is complete and consistent: names are unique, every reference leads somewhere, every identity is a valid
/// SPIFFE ID. `load(path:)` and `parse(text:name:)` are the only makers that promise it.
public struct MeshFile: Hashable, Sendable {
    public struct Namespace: Hashable, Sendable {
        public let name: String
        public let labels: [String: String]
        /// Its enrolled pods take no plaintext.
        public let isStrict: Bool
        /// Of all its pods.
        public let exclusions: Exclusions
    }

    /// What goes around the proxy and past the guard, in plaintext.
    public struct Exclusions: Hashable, Sendable {
        /// In each list.
        public static let portsMax = 32
        public static let prefixesMax = 16

        /// Ports of the pod; none is the proxy's.
        public let inboundPorts: [UInt16]
        /// Ports of whom it connects to; none is a proxy's.
        public let outboundPorts: [UInt16]
        /// Addresses of whom it connects to; none is all of them.
        public let outboundPrefixes: [IPPrefix]
    }

    public struct Pod: Hashable, Sendable {
        /// 1 to 128 bytes of `[A-Za-z0-9._-]`, a letter or digit first, unique in the mesh: it names files and resources.
        public let uid: String
        public let name: String
        public let namespace: String
        public let serviceAccount: String
        public let node: String
        /// At least one.
        public let addresses: [IPAddress]
        /// The path of its network namespace on its node; nil for a pod that Culvert cannot enter.
        public let netns: String?
        public let labels: [String: String]
        /// Besides those of its namespace.
        public let exclusions: Exclusions
        /// The SPIFFE ID that its namespace and service account give it.
        public let identity: SPIFFEID
    }

    public struct Service: Hashable, Sendable {
        public struct Port: Hashable, Sendable {
            public let port: UInt16
            public let targetPort: UInt16
        }

        public let name: String
        public let namespace: String
        public let hostname: String
        /// Virtual addresses; none for a headless service.
        public let addresses: [IPAddress]
        public let ports: [Port]
        /// Names of pods of the service's own namespace.
        public let pods: [String]
    }

    /// The default of `enrolmentLabel`.
    public static let defaultEnrolmentLabel = "culvert.dev/mtls-enabled"

    public let trustDomain: TrustDomain
    /// The label that enrols a namespace with `true`, and takes a single pod out with `false`.
    public let enrolmentLabel: String
    public let namespaces: [Namespace]
    public let pods: [Pod]
    public let services: [Service]
}
