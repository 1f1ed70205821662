import ArgumentParser
import FoundationEssentials
import Glibc
import KubernetesAPI
import NodeAgent

/// `culvert status`
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows the mesh of a cluster: nodes, namespaces, and which pods are enrolled, or why not.",
        discussion: """
            Read from the API server: what agents have written on their nodes' Leases (of themselves and of their proxies) and on pods, \
            compared with what the labels ask for. With the authority's admin socket (or --ca and --svid), also what the authority \
            knows of the proxies' certificates, and a rotation under way.

            Whoever may edit a pod may edit what is said on it: on each node the agent's own count is compared with it.

            EXAMPLES
              culvert status
              culvert status --pods --namespace shop
              culvert status --format json | jq -r '.pods[] | select(.isProblem) | "\\(.namespace)/\\(.name): \\(.reason)"'
              culvert status --ca 10.0.0.1:15012 --svid operator.pem --ca-bundle bundle.pem

            EXIT STATUS
              0   all well: everything that is to be enrolled is
              1   something is wrong
              2   the API server, or the authority that was named, could not be asked
              64  wrong usage
            """
    )

    @OptionGroup var access: ClusterAccessOptions
    @OptionGroup var enrolment: EnrolmentOptions
    @OptionGroup var admin: AdminOptions

    @Option(name: [.short, .long], help: ArgumentHelp("Only the pods of this namespace.", valueName: "name"))
    var namespace: String?

    @Flag(help: "List all pods of enrolled namespaces, not only those that something is wrong with.")
    var pods = false

    @Option(help: "table, json or yaml.")
    var format = TableFormat.table

    func run() async throws {
        try await CommandFailure.reporting {
            let report = try await report()
            print(
                try format.document?.text(report) ?? report.text(Ink(for: STDOUT_FILENO), listsAllPods: pods),
                terminator: "")
            if !report.isSound { throw ExitCode(1) }
        }
    }

    private static let cannotAsk = ExitCode(2)

    private func report() async throws -> ClusterStatusReport {
        let client: KubernetesClient
        do throws(CommandFailure) {
            client = try access.client(connectTimeout: .seconds(3))
        } catch {
            throw CommandFailure(error.description, hint: error.hint, exitCode: Self.cannotAsk)
        }
        let own = enrolment.ownNamespace ?? EnvironmentVariable.value("POD_NAMESPACE")
        var facts = ClusterStatusReport.Facts()
        do {
            facts.nodes = try await client.list(Node.self, trim: Self.trim).items
            facts.namespaces = try await client.list(Namespace.self, trim: Self.trim).items
            facts.pods = try await client.list(Pod.self, Selection(namespace: namespace), trim: Self.trim).items
            facts.leases = try await client.list(
                Lease.self,
                Selection(namespace: own, labels: "\(NodeHeartbeat.label.key)=\(NodeHeartbeat.label.value)")
            ).items
        } catch {
            let isForbidden = (error as? KubernetesError)?.reason == .forbidden
            throw CommandFailure(
                "the cluster cannot be asked: \(error)",
                hint: isForbidden
                    ? "it needs to list nodes, namespaces, pods and leases; with --own-namespace, leases of that namespace only"
                    : "does `kubectl get nodes` work with the same kubeconfig?",
                exitCode: Self.cannotAsk)
        }
        if let namespace { facts.namespaces.removeAll { $0.name != namespace } }
        facts.authority = try await authority()
        return ClusterStatusReport(
            facts, enrolment.rule(ownNamespace: own ?? Self.ownNamespace(facts.leases)), now: Date())
    }

    /// Where the agents keep their Leases is where Culvert runs.
    private static func ownNamespace(_ leases: [Lease]) -> String? {
        let namespaces = Set(leases.map(\.namespace))
        return namespaces.count == 1 ? namespaces.first : nil
    }

    /// nil when nobody said how, and there is none on this machine.
    private func authority() async throws -> AuthorityReport? {
        guard
            admin.ca != nil || Glibc.access(admin.adminSocket, F_OK) == 0
                || admin.adminSocket != AdminSocket.defaultPath
        else { return nil }
        do {
            return AuthorityReport(
                try await admin.call { client, options in try await client.status(.init(), options: options) })
        } catch let failure as CommandFailure {
            throw CommandFailure(failure.description, hint: failure.hint, exitCode: Self.cannotAsk)
        }
    }

    /// Of annotations and lists only what is shown is held.
    private static func trim<Object: KubernetesObject>(_ object: inout Object) {
        object.metadata.annotations = object.metadata.annotations.filter { key, _ in
            key.hasPrefix("culvert.dev/") || key == PodExclusion.staticPodAnnotation
        }
    }
}
