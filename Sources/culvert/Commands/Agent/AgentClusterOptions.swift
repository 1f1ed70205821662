import ArgumentParser
import IPAddressing
import KubernetesAPI
import Logging
import MeshFile
import NodeAgent
import SPIFFE

/// What `culvert agent run` has to know of a cluster.
struct AgentClusterOptions: ParsableArguments {
    @Flag(help: "Learns of pods, namespaces and services from a Kubernetes cluster.")
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
    var isGiven: Bool { kubernetes || access.given != nil }

    func validate() throws {
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

    func parts(node: String, runDirectory: String, notes: String, logger: Logger) throws -> Parts {
        let client = try access.client()
        let own = enrolment.ownNamespace(client.configuration)
        var configuration = KubernetesCluster.Configuration(
            node: node, trustDomain: try TrustDomain(trustDomain), enrolment: enrolment.rule(ownNamespace: own))
        configuration.clusterDomain = clusterDomain
        configuration.ranges = Set(clusterCIDR.compactMap { IPPrefix($0) })
        let source = KubernetesPodSource(client, configuration, logger: logger)
        var reporting = ClusterReporter.Configuration(
            node: node, namespace: own, version: Culvert.configuration.version, runDirectory: runDirectory)
        reporting.startupTaint = startupTaint == "none" ? nil : startupTaint
        return Parts(
            source: source,
            namespaces: try NodePodNamespaces(
                proc: proc, namespaceDirectories: netnsDir, notes: notes),
            reporter: ClusterReporter(client, reporting, source: source, logger: logger))
    }
}
