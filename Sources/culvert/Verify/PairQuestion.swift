import ArgumentParser
import IPAddressing
import MeshState
import NodeAgent

/// Which pair is meant, and by which port: read from what was typed and the mesh.
struct PairQuestion: Hashable, Sendable {
    let source: ClusterState.Pod
    let destination: ClusterState.Pod
    /// Of the destination.
    let address: IPAddress
    let port: UInt16

    init(source: String, destination: String, port: UInt16?, in cluster: ClusterState) throws(CommandFailure) {
        (self.source, _) = try Self.find(source, in: cluster)
        (self.destination, address) = try Self.find(destination, in: cluster)
        guard self.source.uid != self.destination.uid else {
            throw CommandFailure(
                "\(source) and \(destination) are one pod", hint: "what a pod says to itself does not leave it",
                exitCode: Self.unanswerable)
        }
        guard let chosen = port ?? Self.ports(of: self.destination, in: cluster).first else {
            throw CommandFailure(
                "no service says which port \(destination) listens on", hint: "name it with --port",
                exitCode: Self.unanswerable)
        }
        self.port = chosen
    }

    static let unanswerable = ExitCode(2)

    /// `namespace/name`, or one of its addresses.
    private static func find(
        _ text: String, in cluster: ClusterState
    ) throws(CommandFailure) -> (ClusterState.Pod, IPAddress) {
        let wanted = IPAddress(text)
        let found = cluster.pods.first { pod in
            wanted.map(pod.addresses.contains) ?? (Array("\(pod.namespace)/\(pod.name)".utf8) == Array(text.utf8))
        }
        guard let found, let address = wanted ?? found.addresses.first else {
            let known = cluster.pods.map { "\($0.namespace)/\($0.name)" }.sorted()
            let names = known.prefix(8).joined(separator: ", ") + (known.count > 8 ? ", ..." : "")
            throw CommandFailure(
                "the mesh has no pod \(text)", hint: "give namespace/name or an address; there are \(names)",
                exitCode: unanswerable)
        }
        return (found, address)
    }

    /// The pod's own ports that services lead to, the lowest first.
    static func ports(of pod: ClusterState.Pod, in cluster: ClusterState) -> [UInt16] {
        cluster.services.flatMap { service -> [UInt16] in
            guard let own = pod.services[service.name] else { return [] }
            return service.ports.map { port, target in own[port] ?? (target == 0 ? port : target) }
        }.sorted()
    }
}
