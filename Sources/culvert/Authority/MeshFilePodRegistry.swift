import Authority
import Logging
import MeshFile
import Synchronization

/// The mesh file's pods, as the authority sees them; follows the file's changes while `run` runs.
final class MeshFilePodRegistry: PodRegistry {
    private let pods: Mutex<[String: RegisteredPod]>
    private let path: String
    private let logger: Logger

    init(_ mesh: MeshFile, path: String, logger: Logger) {
        pods = Mutex(Self.registered(mesh))
        self.path = path
        self.logger = logger
    }

    func pod(uid: String) -> RegisteredPod? { pods.withLock { $0[uid] } }

    /// A file with mistakes changes nothing: the pods stay as they were, and the log says what is wrong where.
    func run() async {
        for await result in MeshFileWatcher(path: path) {
            switch result {
            case .success(let mesh):
                let registered = Self.registered(mesh)
                let before = pods.withLock { pods in
                    defer { pods = registered }
                    return pods
                }
                guard before != registered else { continue }
                logger.info("Pods registered", metadata: ["pods": "\(registered.count)", "mesh": "\(path)"])
            case .failure(let error):
                logger.error("Mesh file refused, the registered pods stay", metadata: ["reason": "\(error)"])
            }
        }
    }

    private static func registered(_ mesh: MeshFile) -> [String: RegisteredPod] {
        let pods = mesh.pods.map { pod in
            RegisteredPod(
                uid: pod.uid, node: pod.node, namespace: pod.namespace, serviceAccount: pod.serviceAccount)
        }
        return Dictionary(pods.map { ($0.uid, $0) }) { first, _ in first }
    }
}
