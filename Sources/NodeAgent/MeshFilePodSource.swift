public import Logging
public import MeshFile
import MeshState
import Redirection
import Synchronization

/// A mesh file as the source: the state that its latest sound version describes.
public final class MeshFilePodSource: PodSource {
    private let watcher: MeshFileWatcher
    private let logger: Logger
    private let latest = Mutex<ClusterState?>(nil)

    public init(path: String, logger: Logger) {
        watcher = MeshFileWatcher(path: path)
        self.logger = logger
    }

    public func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async {
        var difference = ClusterDifference(node: node)
        var delivered = false
        for await element in watcher {
            switch element {
            case .success(let file):
                let state = ClusterState(file)
                latest.withLock { $0 = state }
                let change = difference.change(to: state)
                if !delivered || !change.isEmpty { await deliver(change) }
                delivered = true
            case .failure(let error):
                // What was enrolled stays so: a typing error must not take the mesh down.
                logger.error(
                    "Mesh file refused; \(delivered ? "the running mesh stays" : "waiting for a sound one")",
                    metadata: ["problems": "\(error)"])
            }
        }
    }

    public func admission(of pod: PodReference) -> PodAdmission {
        guard let state = latest.withLock({ $0 }) else { return .unknown }
        guard state.namespaces[pod.namespace]?[state.enrolmentLabel] == "true" else { return .notEnrolled }
        guard let found = state.pods.first(where: pod.means) else { return .unknown }
        return state.isEnrolled(found) ? .enrolled(found) : .notEnrolled
    }

    public var enrolledNamespaces: Set<String>? {
        latest.withLock { state in
            state.map { state in
                Set(state.namespaces.filter { $0.value[state.enrolmentLabel] == "true" }.keys)
            }
        }
    }
}

extension ClusterState {
    public init(_ file: MeshFile) {
        var memberships: [PodName: [ServiceName: [UInt16: UInt16]]] = [:]
        for service in file.services {
            let name = ServiceName(namespace: service.namespace, hostname: service.hostname)
            for pod in service.pods {
                memberships[PodName(namespace: service.namespace, name: pod), default: [:]][name] = [:]
            }
        }
        let strict = Set(file.namespaces.filter(\.isStrict).map(\.name))
        let shared = Dictionary(file.namespaces.map { ($0.name, PodExclusions($0.exclusions)) }) { first, _ in first }
        self.init(
            trustDomain: file.trustDomain,
            enrolmentLabel: file.enrolmentLabel,
            namespaces: Dictionary(file.namespaces.map { ($0.name, $0.labels) }) { first, _ in first },
            pods: file.pods.map { pod in
                Pod(
                    uid: pod.uid, name: pod.name, namespace: pod.namespace, serviceAccount: pod.serviceAccount,
                    node: pod.node, addresses: pod.addresses, netns: pod.netns, labels: pod.labels,
                    services: memberships[PodName(namespace: pod.namespace, name: pod.name)] ?? [:],
                    exclusions: PodExclusions(pod.exclusions).union(shared[pod.namespace] ?? PodExclusions()),
                    isStrict: strict.contains(pod.namespace))
            },
            services: file.services.map { service in
                Service(
                    name: ServiceName(namespace: service.namespace, hostname: service.hostname),
                    shortName: service.name, addresses: service.addresses,
                    ports: Dictionary(service.ports.map { ($0.port, $0.targetPort) }) { first, _ in first })
            }
        )
    }

    private struct PodName: Hashable {
        let namespace: String
        let name: String
    }
}

extension PodExclusions {
    init(_ exclusions: MeshFile.Exclusions) {
        self.init(
            inboundPorts: Set(exclusions.inboundPorts), outboundPorts: Set(exclusions.outboundPorts),
            outboundPrefixes: Set(exclusions.outboundPrefixes))
    }
}
