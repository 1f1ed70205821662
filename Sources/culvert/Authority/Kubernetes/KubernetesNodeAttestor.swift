import Authority
import KubernetesAPI
import Logging
import SPIFFE

/// Knows nodes by the projected tokens of the pods that run our proxy on them (SPIRE's `k8s_psat`): the API server reviews the token.
struct KubernetesNodeAttestor: NodeTokenReviewer {
    let client: KubernetesClient
    let verdict: NodeTokenVerdict
    /// Told of refusals that concern a pod.
    let onRefusal: @Sendable (ObjectReference, String) -> Void

    /// The API server refuses longer ones, too; a review costs it a signature's check.
    static let tokenBytesMax = 16384

    func node(bearing token: String) async throws(Denial) -> NodeName {
        guard !token.isEmpty, token.utf8.count <= Self.tokenBytesMax,
            token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw .tokenUnknown }
        let review = try await reviewed(token)
        let holder: NodeTokenVerdict.Holder
        do { holder = try verdict.holder(review) } catch {
            if case .wrongAccount(let holder) = error { onRefusal(holder.reference, "\(error)") }
            throw .tokenRefused("\(error)")
        }
        let name: String
        if let node = holder.node { name = node } else { name = try await node(of: holder) }
        do { return try NodeName(name) } catch { throw .tokenRefused("\(error)") }
    }

    private func reviewed(_ token: String) async throws(Denial) -> TokenReviewStatus {
        do {
            return try await client.review(token: token, audiences: [verdict.audience])
        } catch {
            throw .notReady("the API server does not review tokens: \(error)")
        }
    }

    private func node(of holder: NodeTokenVerdict.Holder) async throws(Denial) -> String {
        let pod: Pod
        do {
            pod = try await client.get(Pod.self, name: holder.podName, namespace: holder.account.namespace)
        } catch {
            if (error as? KubernetesError)?.reason == .notFound {
                throw .tokenRefused("pod \(holder.podName), which the token is bound to, has gone")
            }
            throw .notReady("the API server does not say where pod \(holder.podName) runs: \(error)")
        }
        guard let node = NodeTokenVerdict.node(of: holder, from: pod) else {
            throw .tokenRefused("pod \(holder.podName), which the token is bound to, has gone or is on no node yet")
        }
        return node
    }
}
