public import IPAddressing
public import Redirection

/// Stands below everything else on the node: lets no plaintext pass between enrolled addresses, whatever rules and proxy do.
public protocol MeshGuard: Sendable {
    /// Replaces the enrolled addresses of the whole cluster. Called before anybody else is told of them.
    func publish(_ addresses: Set<IPAddress>) throws
    /// Changes single ones. When it throws, any of them may have been changed.
    func publish(adding: Set<IPAddress>, removing: Set<IPAddress>) throws
    /// As the guard has them.
    func enrolledAddresses() throws -> Set<IPAddress>
    /// Samples of what was refused since the last call.
    func takeEvents() throws -> [GuardEvent]
    /// The pods that have a guard, of whichever agent.
    var pods: [String] { get }
    func detach(pod uid: String) throws
    /// From now on connections of this cgroup, the kubelet's, reach strict pods; nil for nobody's.
    func trust(kubelet cgroup: String?) throws
    /// From now on no packet of a pod's has this source, which is the kubelet's; nil for none.
    func reserve(_ source: ProbeSource?) throws
    func probeCounts() throws -> ProbeCounts
    /// Called at the end, when nothing is to stay behind.
    func removeIfUnused()
}

extension PodGuard: MeshGuard {}

extension ClusterState {
    /// Where plaintext must not go from an enrolled pod, nor come from: enrolled pods, and the virtual addresses in front of them.
    ///
    /// The proxy never sends to a virtual address, except where a service asks for just that.
    public var guardedAddresses: Set<IPAddress> {
        let enrolled = pods.filter(isEnrolled)
        let fronts = Set(enrolled.flatMap(\.services.keys))
        let virtual = services.filter { fronts.contains($0.name) && $0.loadBalancing != .passthrough }
        return Set(enrolled.flatMap(\.addresses) + virtual.flatMap(\.addresses))
    }
}
