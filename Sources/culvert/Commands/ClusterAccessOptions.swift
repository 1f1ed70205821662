import ArgumentParser
import Glibc
import KubernetesAPI

/// Which cluster, and how it is reached: the same for every command that asks an API server.
struct ClusterAccessOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The cluster by a kubeconfig; without it by KUBECONFIG, the pod's service account, or ~/.kube/config.",
            valueName: "file"))
    var kubeconfig: String?

    @Option(help: ArgumentHelp("The kubeconfig's context; by default its current one.", valueName: "name"))
    var context: String?

    /// The first option that is there.
    var given: String? { kubeconfig != nil ? "--kubeconfig" : context != nil ? "--context" : nil }

    /// The first cluster that there is. Nothing is asked of it.
    func configuration() throws(CommandFailure) -> ClusterConfiguration {
        do {
            return try ClusterConfiguration.load(
                kubeconfig: kubeconfig, context: context, environment: Self.environment)
        } catch {
            throw CommandFailure(
                "the cluster cannot be reached: \(error)",
                hint: "name a kubeconfig with --kubeconfig, or run in a pod with a service account")
        }
    }

    func client(connectTimeout: Duration = .seconds(10)) throws(CommandFailure) -> KubernetesClient {
        Self.client(try configuration(), connectTimeout: connectTimeout)
    }

    static func client(
        _ configuration: ClusterConfiguration, connectTimeout: Duration = .seconds(10)
    ) -> KubernetesClient {
        var limits = KubernetesClient.Limits()
        limits.connectTimeout = connectTimeout
        return KubernetesClient(
            configuration, userAgent: "culvert/\(Culvert.configuration.version)", limits: limits)
    }

    /// This process's, as far as clusters are concerned.
    private static var environment: [String: String] {
        var values: [String: String] = [:]
        for name in ClusterConfiguration.environmentVariables { values[name] = EnvironmentVariable.value(name) }
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
