import Authority
import FoundationEssentials
import KubernetesAPI
import Logging
import SPIFFE

/// What makes an authority one of a Kubernetes cluster: its pods, its nodes' tokens, its ConfigMaps and its Events.
///
/// The rights that this needs (`docs/kubernetes-rbac.md`): to create TokenReviews; to get pods; to list and watch pods and namespaces; to
/// list, watch, create, patch and delete ConfigMaps of the bundle's name; to create and patch Events.
struct ClusterAuthority {
    struct Settings {
        /// As the agents have it.
        var enrolment: EnrolmentRule
        var audience: String
        var accounts: Set<ServiceAccountName>
        var bundleName: String
        /// Our own namespace.
        var home: String
        /// Who we are among replicas: the pod's name.
        var instance: String
    }

    let pods: KubernetesPodRegistry
    let attestor: KubernetesNodeAttestor
    private let events: EventRecorder
    private let publisher: TrustBundlePublisher

    init(client: KubernetesClient, settings: Settings, logger: Logger) {
        let events = EventRecorder(
            client: client, component: "culvert-ca", instance: settings.instance, now: { Date() }, logger: logger)
        self.events = events
        pods = KubernetesPodRegistry(client: client, enrolment: settings.enrolment, logger: logger)
        attestor = KubernetesNodeAttestor(
            client: client, verdict: NodeTokenVerdict(audience: settings.audience, accounts: settings.accounts)
        ) { pod, reason in events.record(.warning, "AttestationRefused", on: pod, reason) }
        publisher = TrustBundlePublisher(
            client: client, name: settings.bundleName, home: settings.home, instance: settings.instance,
            logger: logger)
    }

    /// Of the audit trail.
    func tell(_ event: AuditEvent) {
        guard let notice = RefusalNotice(event, pod: { pods.reference(uid: $0) }) else { return }
        note(.warning, notice.reason, on: notice.object, notice.message)
    }

    func note(_ severity: Event.Severity, _ reason: String, on object: ObjectReference, _ message: String) {
        events.record(severity, reason, on: object, message)
    }

    /// Beside the registry, which is run by itself; until its task is cancelled.
    func run(bundles: AsyncStream<TrustBundle>) async {
        await withDiscardingTaskGroup { group in
            group.addTask { await events.run() }
            group.addTask { await publisher.run(bundles: bundles, enrolled: pods.enrolledNamespaces) }
        }
    }
}
