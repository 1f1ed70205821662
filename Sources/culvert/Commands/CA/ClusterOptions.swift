import ArgumentParser
import KubernetesAPI

/// `culvert ca serve`'s options for an authority on Kubernetes.
struct ClusterOptions: ParsableArguments {
    @Flag(
        help: """
            Take the pods from the Kubernetes API in place of --mesh, know nodes by the projected tokens of their proxies, and keep the \
            trust bundle in a ConfigMap of each enrolled namespace. Needs --trust-domain.
            """)
    var kubernetes = false

    @OptionGroup var access: ClusterAccessOptions
    @OptionGroup var enrolment: EnrolmentOptions

    @Option(
        help: ArgumentHelp(
            "A service account whose pods may attest the nodes that they run on; by default culvert-proxy of this namespace; repeatable.",
            valueName: "namespace:name"))
    var nodeAccount: [String] = []

    @Option(help: ArgumentHelp("The audience of the proxies' tokens.", valueName: "name"))
    var tokenAudience = Self.defaultAudience

    @Option(help: ArgumentHelp("The ConfigMap that has the trust bundle.", valueName: "name"))
    var bundleConfigMap = Self.defaultBundle

    static let defaultAudience = "culvert-ca"
    static let defaultBundle = "culvert-trust-bundle"
    static let defaultAccount = "culvert-proxy"

    func validate() throws {
        guard kubernetes else {
            let given: [(String, Bool)] = [
                (access.given ?? "", access.given != nil), (enrolment.given ?? "", enrolment.given != nil),
                ("--node-account", !nodeAccount.isEmpty), ("--token-audience", tokenAudience != Self.defaultAudience),
                ("--bundle-config-map", bundleConfigMap != Self.defaultBundle),
            ]
            guard let stray = given.first(where: \.1) else { return }
            throw ValidationError("\(stray.0) goes with --kubernetes")
        }
        guard !tokenAudience.isEmpty else { throw ValidationError("--token-audience is empty") }
        for text in nodeAccount where ServiceAccountName(text) == nil {
            throw ValidationError("--node-account: “\(text)” is no NAMESPACE:NAME of a service account")
        }
    }

    func settings(_ cluster: ClusterConfiguration) -> ClusterAuthority.Settings {
        let home = enrolment.ownNamespace(cluster)
        let accounts = nodeAccount.compactMap { ServiceAccountName($0) }
        return ClusterAuthority.Settings(
            enrolment: enrolment.rule(ownNamespace: home), audience: tokenAudience,
            accounts: accounts.isEmpty
                ? [ServiceAccountName(namespace: home, name: Self.defaultAccount)] : Set(accounts),
            bundleName: bundleConfigMap, home: home, instance: EnvironmentVariable.value("HOSTNAME") ?? "culvert-ca")
    }
}
