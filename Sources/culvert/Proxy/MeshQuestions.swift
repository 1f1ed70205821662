import IPAddressing
import MeshAPI
import Synchronization

/// Brings the data plane's questions about unknown destinations to the agent; the one is made before the other.
final class MeshQuestions: Sendable {
    private let client = Mutex<WorkloadDiscoveryClient?>(nil)

    func goTo(_ client: WorkloadDiscoveryClient) { self.client.withLock { $0 = client } }

    /// `answer` is called with nil when all that the agent knows of the address has been published, else with what stood in the way.
    func lookUp(_ address: IPAddress, _ answer: @escaping @Sendable (String?) -> Void) {
        guard let client = client.withLock({ $0 }) else { return answer("the proxy is starting") }
        client.lookUp(address) { outcome in
            switch outcome {
            case .told: answer(nil)
            case .unavailable(let reason): answer(reason)
            }
        }
    }
}
