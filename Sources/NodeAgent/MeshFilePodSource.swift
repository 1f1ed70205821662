public import Logging
public import MeshFile
import MeshState
import Redirection

/// A mesh file as the source: the state that its latest sound version describes.
public struct MeshFilePodSource: PodSource {
    private let watcher: MeshFileWatcher
    private let logger: Logger

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
                let change = difference.change(to: ClusterState(file))
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
