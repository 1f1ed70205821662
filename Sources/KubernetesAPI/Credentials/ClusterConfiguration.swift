/// Where an API server is, how it is recognised, and what we show it.
public struct ClusterConfiguration: Sendable, Equatable {
    /// Bytes in a file, which is read again when it changes, or as they are.
    public enum Material: Sendable, Equatable {
        case file(String)
        case bytes([UInt8])
    }

    public enum Token: Sendable, Equatable {
        /// Read again when it changes: projected tokens are replaced before they end.
        case file(String)
        case text(String)
    }

    /// Scheme, host, port and perhaps a path, without a slash at its end. An IPv6 host stands in brackets.
    public var server: String
    /// The CA certificates of the server, in PEM; the system's where there are none.
    public var authorities: Material?
    /// The name that the server's certificate must have, where it is not the host of `server`.
    public var serverName: String?
    /// False connects to anybody: whoever is in between gets our token.
    public var verifiesServer = true
    /// In PEM, both or neither.
    public var clientCertificate: Material?
    public var clientKey: Material?
    public var token: Token?
    /// What a command means that names no namespace.
    public var namespace = "default"
    /// For messages: where all of this was read.
    public var origin = ""

    public init(server: String) {
        self.server = server
    }

    public static let serviceAccountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// What `load` and `inCluster` look at. An empty variable is none.
    public static let environmentVariables = [
        "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS", "HOME",
    ]

    /// What a pod is given: the service account's token, CA certificates and namespace.
    ///
    /// The host may be an IPv6 address: it is without brackets in the environment.
    public static func inCluster(
        environment: [String: String], directory: String = serviceAccountDirectory
    ) throws(ClusterConfigurationError) -> ClusterConfiguration {
        let environment = environment.filter { !$0.value.isEmpty }
        guard let host = environment["KUBERNETES_SERVICE_HOST"],
            let port = environment["KUBERNETES_SERVICE_PORT_HTTPS"] ?? environment["KUBERNETES_SERVICE_PORT"],
            UInt16(port) != nil
        else { throw .notInCluster }
        var configuration = ClusterConfiguration(
            server: "https://" + (host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host) + ":" + port)
        let token = directory + "/token"
        guard try !LocalFile.text(token).isEmpty else { throw .unreadable(path: token, reason: "it is empty") }
        configuration.token = .file(token)
        configuration.authorities = .file(directory + "/ca.crt")
        _ = try LocalFile.bytes(directory + "/ca.crt")
        if let namespace = try? LocalFile.text(directory + "/namespace"), !namespace.isEmpty {
            configuration.namespace = namespace
        }
        configuration.origin = "the pod's service account"
        return configuration
    }

    /// The first that there is: the named kubeconfig, those of KUBECONFIG, the pod's service account, `~/.kube/config`.
    public static func load(
        kubeconfig: String? = nil, context: String? = nil, environment: [String: String],
        allowsInsecure: Bool = false
    ) throws(ClusterConfigurationError) -> ClusterConfiguration {
        if let kubeconfig {
            return try Kubeconfig(paths: [kubeconfig]).configuration(context: context, allowsInsecure: allowsInsecure)
        }
        let environment = environment.filter { !$0.value.isEmpty }
        let listed = (environment["KUBECONFIG"] ?? "").split(separator: ":").map(String.init)
        if !listed.isEmpty {
            // As kubectl does: files of the list may be missing, but not all of them.
            let paths = listed.filter(LocalFile.exists)
            guard !paths.isEmpty else { throw .unreadable(path: listed[0], reason: "there is no such file") }
            return try Kubeconfig(paths: paths).configuration(context: context, allowsInsecure: allowsInsecure)
        }
        if context == nil, environment["KUBERNETES_SERVICE_HOST"] != nil {
            return try inCluster(environment: environment)
        }
        guard let home = environment["HOME"], LocalFile.exists(home + "/.kube/config") else { throw .notInCluster }
        return try Kubeconfig(paths: [home + "/.kube/config"]).configuration(
            context: context, allowsInsecure: allowsInsecure)
    }
}

public enum ClusterConfigurationError: Error, Equatable, CustomStringConvertible {
    case notInCluster
    case unreadable(path: String, reason: String)
    case malformed(path: String, reason: String)
    case unknownContext(String, known: [String])
    case unsupported(String)
    case insecure

    public var description: String {
        switch self {
        case .notInCluster:
            """
            no cluster is known: this is no pod with a service account (KUBERNETES_SERVICE_HOST is not set), KUBECONFIG is not set, and \
            there is no ~/.kube/config
            """
        case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .malformed(let path, let reason): "\(path): \(reason)"
        case .unknownContext(let name, let known):
            name.isEmpty
                ? "the kubeconfig names no current context; name one of: \(known.joined(separator: ", "))"
                : "the kubeconfig has no context “\(name)”; it has: \(known.joined(separator: ", "))"
        case .unsupported(let what): what
        case .insecure:
            """
            the kubeconfig says insecure-skip-tls-verify: anybody between here and there could be the API server and would get the \
            token; give it certificate-authority instead
            """
        }
    }
}
