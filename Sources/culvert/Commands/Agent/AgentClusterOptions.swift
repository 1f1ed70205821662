import ArgumentParser
import Glibc
import IPAddressing
import KubernetesAPI
import Logging
import MeshFile
import NodeAgent
import SPIFFE

/// Which cluster, and how it is reached.
struct ClusterAccessOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The cluster by a kubeconfig; without it by KUBECONFIG, the pod's service account, or ~/.kube/config.",
            valueName: "file"))
    var kubeconfig: String?

    @Option(help: ArgumentHelp("The kubeconfig's context; by default its current one.", valueName: "name"))
    var context: String?

    /// The first that there is; with `isInCluster`, only what a pod is given.
    func client(
        isInCluster: Bool = false, connectTimeout: Duration = .seconds(10)
    ) throws(CommandFailure) -> KubernetesClient {
        do {
            let environment = Self.environment(
                "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS", "KUBECONFIG",
                "HOME")
            let configuration =
                isInCluster
                ? try ClusterConfiguration.inCluster(environment: environment)
                : try ClusterConfiguration.load(kubeconfig: kubeconfig, context: context, environment: environment)
            var limits = KubernetesClient.Limits()
            limits.connectTimeout = connectTimeout
            return KubernetesClient(
                configuration, userAgent: "culvert/\(Culvert.configuration.version)", limits: limits)
        } catch {
            throw CommandFailure(
                "the cluster cannot be reached: \(error)",
                hint: "name a kubeconfig with --kubeconfig, or run in a pod with a service account")
        }
    }

    private static func environment(_ names: String...) -> [String: String] {
        var values: [String: String] = [:]
        for name in names { values[name] = EnvironmentVariable.value(name) }
        return values
    }
}

/// What the pod's manifest tells a process.
enum EnvironmentVariable {
    /// nil also for an empty one.
    static func value(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// What `culvert agent run` has to know of a cluster.
struct AgentClusterOptions: ParsableArguments {
    @Flag(help: "Learns of pods, namespaces and services from the cluster that this pod is in.")
    var kubernetes = false

    @OptionGroup var access: ClusterAccessOptions
    @OptionGroup var enrolment: EnrolmentOptions

    @Option(help: ArgumentHelp("The trust domain of the cluster's identities.", valueName: "name"))
    var trustDomain = "cluster.local"

    @Option(help: ArgumentHelp("The end of every service's name.", valueName: "domain"))
    var clusterDomain = "cluster.local"

    @Option(
        help: ArgumentHelp(
            """
            What pods and services have their addresses from, besides what nodes and services show; may be repeated. An address in \
            it that is not known yet is asked for, and not passed through.
            """, valueName: "cidr"))
    var clusterCIDR: [String] = []

    @Option(help: ArgumentHelp("The machine's procfs: where it is mounted in the agent's container.", valueName: "dir"))
    var proc = "/proc"

    @Option(
        help: ArgumentHelp(
            "Where the container runtime keeps network namespaces by name; may be repeated.", valueName: "dir"))
    var netnsDir = ["/run/netns"]

    @Option(
        help: ArgumentHelp(
            "A taint that is taken from the node when the agent is ready and a proxy is connected; \"none\" for none.",
            valueName: "key"))
    var startupTaint = "culvert.dev/agent-not-ready"

    /// Whether any of them says that there is a cluster.
    var isGiven: Bool { kubernetes || access.kubeconfig != nil }

    func validate() throws {
        guard !kubernetes || access.kubeconfig == nil else {
            throw ValidationError("--kubernetes and --kubeconfig are two ways to the same; give one of them")
        }
        guard (try? TrustDomain(trustDomain)) != nil else {
            throw ValidationError("--trust-domain: “\(trustDomain)” is not a trust domain")
        }
        for text in clusterCIDR where IPPrefix(text) == nil {
            throw ValidationError("--cluster-cidr: “\(text)” is not a range such as 10.0.0.0/8")
        }
    }

    /// What the agent of a node works with. Nothing is asked of the cluster yet.
    struct Parts {
        let source: KubernetesPodSource
        let namespaces: NodePodNamespaces
        let reporter: ClusterReporter
    }

    func parts(node: String, notes: String, logger: Logger) throws -> Parts {
        let client = try access.client(isInCluster: kubernetes)
        let own = enrolment.ownNamespace(client.configuration)
        var configuration = KubernetesCluster.Configuration(
            node: node, trustDomain: try TrustDomain(trustDomain), enrolment: enrolment.rule(ownNamespace: own))
        configuration.clusterDomain = clusterDomain
        configuration.ranges = Set(clusterCIDR.compactMap { IPPrefix($0) })
        let source = KubernetesPodSource(client, configuration, logger: logger)
        var reporting = ClusterReporter.Configuration(
            node: node, namespace: own, version: Culvert.configuration.version)
        reporting.startupTaint = startupTaint == "none" ? nil : startupTaint
        return Parts(
            source: source,
            namespaces: try NodePodNamespaces(
                proc: proc, namespaceDirectories: netnsDir, notes: notes),
            reporter: ClusterReporter(client, reporting, source: source, logger: logger))
    }
}
