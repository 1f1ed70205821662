import IPAddressing
import KubernetesAPI
import MeshState
import Redirection

// What is kept of each object: a hundred thousand of them fit where a few thousand whole ones would.

/// Of a namespace.
struct NamespaceFacts: Hashable, Sendable {
    var isEnrolled = false
    var isStrict = false
    var exclusions = PodExclusions()
}

/// Of a pod that has an address and has not ended.
struct PodFacts: Hashable, Sendable {
    let uid: String
    let serviceAccount: String
    let node: String
    let addresses: [IPAddress]
    let usesHostNetwork: Bool
    /// Why it is not enrolled where its namespace is; nil when it is.
    let exclusion: PodExclusion?
    let exclusions: PodExclusions
    let controller: String
    let created: String

    /// nil for a pod that nobody can connect to: it has ended, or has no address yet.
    init?(_ pod: KubernetesAPI.Pod, _ rule: EnrolmentRule, _ problem: (String) -> Void) {
        let texts = pod.status.podIPs.isEmpty ? pod.status.podIP.map { [$0] } ?? [] : pod.status.podIPs
        addresses = texts.compactMap { IPAddress($0) }
        guard !pod.isTerminated, !addresses.isEmpty else { return nil }
        uid = pod.metadata.uid
        serviceAccount = pod.spec.serviceAccountName.isEmpty ? "default" : pod.spec.serviceAccountName
        node = pod.spec.nodeName ?? ""
        usesHostNetwork = pod.spec.hostNetwork
        exclusion = rule.exclusion(of: pod)
        exclusions = ClusterAnnotation.exclusions(pod.metadata.annotations, problem)
        controller = Self.controller(of: pod)
        created = pod.metadata.creationTimestamp?.text ?? ""
    }

    /// The Deployment's name rather than that of its ReplicaSet.
    private static func controller(of pod: KubernetesAPI.Pod) -> String {
        guard let owner = pod.metadata.ownerReferences.first(where: \.isController) else { return "" }
        guard owner.kind == "ReplicaSet", let hash = pod.metadata.labels["pod-template-hash"],
            owner.name.utf8.count > hash.utf8.count + 1, owner.name.hasSuffix("-" + hash)
        else { return owner.name }
        return String(owner.name.dropLast(hash.count + 1))
    }

    /// Whether it has an address rather than the other, when both claim it: it came later.
    func supersedes(_ other: PodFacts) -> Bool {
        (created, uid) > (other.created, other.uid)
    }
}

/// Of a service that has ports for TCP and is not a mere name of something else.
struct ServiceFacts: Hashable, Sendable {
    let name: ServiceName
    let addresses: [IPAddress]
    /// TCP ports by name; one without a name has the empty one.
    let ports: [String: UInt16]
    /// By service port: the endpoint's port where it is a number, and the same for all of them. Others are said by each endpoint.
    let targets: [UInt16: UInt16]

    init?(_ service: KubernetesAPI.Service, clusterDomain: String) {
        guard service.spec.type != .externalName else { return nil }
        var ports: [String: UInt16] = [:]
        var targets: [UInt16: UInt16] = [:]
        for port in service.spec.ports where port.transport == "TCP" {
            guard let number = UInt16(exactly: port.port), number > 0 else { continue }
            ports[port.name] = number
            switch port.targetPort {
            // Whoever made the slices by hand may have chosen otherwise.
            case _ where service.spec.selector.isEmpty: targets[number] = 0
            case .number(let target)?: targets[number] = target > 0 ? UInt16(exactly: target) ?? 0 : number
            case .name?: targets[number] = 0
            case nil: targets[number] = number
            }
        }
        guard !ports.isEmpty else { return nil }
        name = ServiceName(service.key, clusterDomain: clusterDomain)
        addresses = service.spec.addresses.compactMap { IPAddress($0) }
        self.ports = ports
        self.targets = targets
    }
}

extension ServiceName {
    /// As DNS has it in a cluster.
    init(_ key: ObjectKey, clusterDomain: String) {
        self.init(namespace: key.namespace, hostname: "\(key.name).\(key.namespace).svc.\(clusterDomain)")
    }
}

/// Of an EndpointSlice of addresses.
struct SliceFacts: Hashable, Sendable {
    struct Endpoint: Hashable, Sendable {
        enum Condition: Hashable, Sendable {
            case ready
            /// Terminating, and answering still: better than nobody.
            case draining
            case unfit
        }

        /// All interchangeable; the first one is used, as the specification says.
        let address: IPAddress
        /// Of the slice's namespace; nil for what is not a pod.
        let pod: String?
        /// Of the pod that is meant; empty when that is not said.
        let uid: String
        let condition: Condition

        init?(_ endpoint: SliceEndpoint) {
            guard let address = endpoint.addresses.first.flatMap({ IPAddress($0) }) else { return nil }
            self.address = address
            let isPod = endpoint.targetRef?.kind == "Pod"
            pod = isPod ? endpoint.targetRef?.name : nil
            uid = isPod ? endpoint.targetRef?.uid ?? "" : ""
            condition =
                endpoint.isReady ? .ready : endpoint.isServing && endpoint.isTerminating ? .draining : .unfit
        }
    }

    let service: String
    let endpoints: [Endpoint]
    /// TCP ports by name, nil for every port there is.
    let ports: [String: UInt16?]

    /// nil for a slice of no service, or of names.
    init?(_ slice: EndpointSlice) {
        guard let service = slice.serviceName, slice.addressType != "FQDN" else { return nil }
        self.service = service
        endpoints = slice.endpoints.compactMap { Endpoint($0) }
        var ports: [String: UInt16?] = [:]
        for port in slice.ports where port.transport == "TCP" {
            guard let number = port.port else {
                ports[port.name] = .some(nil)
                continue
            }
            if let target = UInt16(exactly: number), target > 0 { ports[port.name] = target }
        }
        self.ports = ports
    }

    var readyCount: Int { endpoints.count { $0.condition == .ready } }

    /// The service's ports that these endpoints answer, each with their own port where it is not the common one; nil for none.
    func targets(of service: ServiceFacts) -> [UInt16: UInt16]? {
        var targets: [UInt16: UInt16] = [:]
        var isServing = false
        for (name, port) in service.ports {
            guard let listed = ports[name] else { continue }
            isServing = true
            let target = listed ?? port
            if service.targets[port] != target { targets[port] = target }
        }
        return isServing ? targets : nil
    }
}
