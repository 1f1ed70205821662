import ArgumentParser
import KubernetesAPI
import MeshFile

/// Which pods of a cluster are enrolled: the same for its agents, its authority, and whoever asks.
struct EnrolmentOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The label that enrols a namespace with \"true\", and takes a single pod out with \"false\".",
            valueName: "key"))
    var enrolmentLabel = MeshFile.defaultEnrolmentLabel

    @Option(
        help: ArgumentHelp(
            """
            Namespaces that are never enrolled, whatever their labels say: names, separated by commas; may be repeated. By default \
            those of the cluster itself; with "none", no namespace.
            """, valueName: "names"))
    var excludeNamespace = [EnrolmentRule.systemNamespaces.sorted().joined(separator: ",")]

    @Option(
        help: ArgumentHelp(
            "Where Culvert runs: its own pods there are not enrolled. By default POD_NAMESPACE, or the service account's.",
            valueName: "name"))
    var ownNamespace: String?

    func validate() throws {
        guard !enrolmentLabel.isEmpty else { throw ValidationError("--enrolment-label is empty") }
        // What is misspelt would be enrolled.
        for name in excludedNames where !MeshFile.isNamespaceName(name) {
            throw ValidationError(
                "--exclude-namespace: “\(name)” is no namespace's name; write “none” for no namespace")
        }
    }

    /// The first option that is not as it is by default.
    var given: String? {
        let defaults = EnrolmentRule.systemNamespaces.sorted()
        if enrolmentLabel != MeshFile.defaultEnrolmentLabel { return "--enrolment-label" }
        if excludedNames.sorted() != defaults { return "--exclude-namespace" }
        return ownNamespace == nil ? nil : "--own-namespace"
    }

    func rule(ownNamespace: String?) -> EnrolmentRule {
        EnrolmentRule(
            label: enrolmentLabel, excludedNamespaces: Set(excludedNames).subtracting(["none"]),
            ownNamespace: ownNamespace)
    }

    func ownNamespace(_ cluster: ClusterConfiguration) -> String {
        ownNamespace ?? EnvironmentVariable.value("POD_NAMESPACE") ?? cluster.namespace
    }

    private var excludedNames: [String] {
        excludeNamespace.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    }
}
