internal import Glibc

/// A whole cluster at once, and its life.
extension APIServer {
    /// The node that nobody's pods are on, and the namespace of what serves the cluster: for an agent that follows it.
    public static let loadedNode = "node-observer"
    public static let loadedSystemNamespace = "culvert-system"

    /// Puts the cluster's objects in: written as they would have become, in the order that they are kept in.
    ///
    /// - Returns: how many bytes a pod has.
    @discardableResult
    public func load(_ load: ClusterLoad) throws -> Int {
        try create(.nodes, ["metadata": ["name": .string(Self.loadedNode)]])
        try ensureNamespace(Self.loadedSystemNamespace)
        for node in 0..<load.nodeCount { try create(.nodes, load.nodeObject(node)) }
        for number in 0..<load.namespaceCount {
            let name = load.namespace(ofPod: number * ClusterLoad.podsPerNamespace)
            try ensureNamespace(name, labels: [ClusterLoad.enrolmentLabel: "true"])
            try create(.serviceAccounts, ["metadata": ["name": "web", "namespace": .string(name)]])
        }
        return registry.storage.write { state in
            var bytes = 0
            for pod in 0..<load.pods { bytes += state.put(.pods, load.pod(pod)).bytes.count }
            for service in 0..<load.services {
                state.put(.services, load.service(service))
                state.put(.endpointSlices, load.slice(service))
            }
            return bytes / load.pods
        }
    }

    /// Makes `count` changes, `perSecond` of them: a pod goes, another takes its place, its service's EndpointSlice follows, and some
    /// other pod changes in what concerns nobody; and so on with the next pod.
    ///
    /// - Returns: what was done, and when each change was committed.
    public func change(_ load: inout ClusterLoad, count: Int, perSecond: Int) async throws -> [LoadChange] {
        var done: [LoadChange] = []
        done.reserveCapacity(count)
        let start = ContinuousClock.now
        for number in 0..<count {
            try await Task.sleep(until: start + .seconds(1) * number / perSecond, clock: .continuous)
            // One after another of all services.
            let turn = number / 4
            let service = turn % load.services
            let pods = load.members(ofService: service)
            let pod = pods[turn / load.services % pods.count]
            done.append(change(&load, number % 4, pod: pod, service: service, number: number))
        }
        return done
    }

    private func change(_ load: inout ClusterLoad, _ step: Int, pod: Int, service: Int, number: Int) -> LoadChange {
        let (name, uid, namespace) = (load.name(ofPod: pod), load.uid(ofPod: pod), load.namespace(ofPod: pod))
        switch step {
        case 0:
            load.replace(pod)
            return registry.storage.write { state in
                if let object = state.object(.pods, namespace, name) { state.remove(.pods, object) }
                return LoadChange(.removed, uid, Self.monotonicNanoseconds)
            }
        case 1:
            let object = load.pod(pod)
            return registry.storage.write { state in
                state.put(.pods, object)
                return LoadChange(.added, uid, Self.monotonicNanoseconds)
            }
        case 2:
            let object = load.slice(service)
            return registry.storage.write { state in
                state.put(.endpointSlices, object)
                return LoadChange(.serving, uid, Self.monotonicNanoseconds)
            }
        default:
            let other = (pod + load.pods / 2) % load.pods
            let place = (load.namespace(ofPod: other), load.name(ofPod: other))
            let uid = load.uid(ofPod: other)
            return registry.storage.write { state in
                if var object = state.object(.pods, place.0, place.1)?.json {
                    object["metadata"]["annotations"]["load/change"] = .string(String(number))
                    state.put(.pods, object)
                }
                return LoadChange(.unrelated, uid, Self.monotonicNanoseconds)
            }
        }
    }

    /// CLOCK_MONOTONIC: the same for all processes of the machine.
    public static var monotonicNanoseconds: UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}
