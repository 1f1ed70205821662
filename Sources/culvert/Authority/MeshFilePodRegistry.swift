import Authority
import Logging
import MeshFile
import Synchronization

/// The mesh file's pods, as the authority sees them; follows the file's changes while `run` runs.
final class MeshFilePodRegistry: FollowingPodRegistry {
    private let pods: Mutex<Pods>
    private let path: String
    private let logger: Logger

    init(_ mesh: MeshFile, path: String, logger: Logger) {
        pods = Mutex(Pods(mesh))
        self.path = path
        self.logger = logger
    }

    /// The file was read before the authority began.
    var obstacle: String? { nil }

    func pod(uid: String) -> RegisteredPod? { pods.withLock { $0.byUID[uid] } }

    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        let place = Place(node: node, namespace: namespace, serviceAccount: serviceAccount)
        return pods.withLock { $0.byPlace[place] }
    }

    /// A file with mistakes changes nothing: the pods stay as they were, and the log says what is wrong where.
    func run() async {
        for await result in MeshFileWatcher(path: path) {
            switch result {
            case .success(let mesh):
                let registered = Pods(mesh)
                let before = pods.withLock { pods in
                    defer { pods = registered }
                    return pods
                }
                guard before != registered else { continue }
                logger.info("Pods registered", metadata: ["pods": "\(registered.byUID.count)", "mesh": "\(path)"])
            case .failure(let error):
                logger.error("Mesh file refused, the registered pods stay", metadata: ["reason": "\(error)"])
            }
        }
    }

    private struct Place: Hashable {
        let node: String
        let namespace: String
        let serviceAccount: String
    }

    private struct Pods: Equatable {
        var byUID: [String: RegisteredPod] = [:]
        /// One of those that share a node and a service account.
        var byPlace: [Place: RegisteredPod] = [:]

        init(_ mesh: MeshFile) {
            for pod in mesh.pods where byUID[pod.uid] == nil {
                let registered = RegisteredPod(
                    uid: pod.uid, node: pod.node, namespace: pod.namespace, serviceAccount: pod.serviceAccount)
                byUID[pod.uid] = registered
                byPlace[Place(node: pod.node, namespace: pod.namespace, serviceAccount: pod.serviceAccount)] =
                    registered
            }
        }
    }
}
