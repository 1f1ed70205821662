import Authority
import KubernetesAPI

/// Looks whether a cluster lets an authority do its work, and changes nothing there.
struct ClusterPreflight {
    /// Something that the authority asks of the API server.
    struct Need: Equatable {
        let right: AccessRight
        /// What cannot be done without it.
        let purpose: String
    }

    /// Of the role that deploy/ gives the authority, each right.
    static func needs(bundle: String) -> [Need] {
        func needs(_ verbs: [String], _ resource: String, group: String = "", name: String = "", _ purpose: String)
            -> [Need]
        {
            verbs.map { Need(right: AccessRight($0, resource, group: group, name: name), purpose: purpose) }
        }
        let (placed, bundles) = (
            "no pod is known, and none gets an identity", "the trust bundle is not kept up to date"
        )
        return needs(["create"], "tokenreviews", group: "authentication.k8s.io", "no node can attest")
            + needs(["list", "watch"], "namespaces", placed) + needs(["list", "watch"], "pods", placed)
            + needs(["get"], "pods", "nodes of API servers before 1.30 cannot attest")
            + needs(["list", "watch", "create", "patch", "delete"], "configmaps", name: bundle, bundles)
            + needs(["create", "patch"], "events", "refusals are not shown on pods and nodes")
    }

    let client: KubernetesClient
    /// The ConfigMap's name.
    let bundle: String

    func problems() async -> [AuthorityPreflight.Problem] {
        var problems: [AuthorityPreflight.Problem] = []
        do {
            // Needs no rights, but an identity that the server knows.
            _ = try await client.serverVersion()
            for need in Self.needs(bundle: bundle) where try await !client.may(need.right) {
                problems.append(
                    .init(
                        "may not \(need.right): without it \(need.purpose)",
                        hint: """
                            deploy/base/authority-rbac.yaml grants it: see that ClusterRole culvert-ca is as it stands there, and bound to \
                            this service account (\(client.configuration.origin))
                            """))
            }
        } catch {
            let error = error as? KubernetesError
            problems.append(.init(error.map { "\($0)" } ?? "it was not answered", hint: hint(error)))
        }
        return problems.map { .init("\(client.configuration.server): \($0.description)", hint: $0.hint) }
    }

    private func hint(_ error: KubernetesError?) -> String? {
        let origin = client.configuration.origin
        switch error {
        case .unreachable, .timedOut:
            return
                "see that the address is the API server's and is reached from here, and that its certificate is by the CA of \(origin)"
        case .refused(let refusal) where refusal.reason == .unauthorized:
            return "the token or certificate of \(origin) has expired, or is not this cluster's: give it a new one"
        case .refused(let refusal) where refusal.reason == .forbidden:
            return
                "ClusterRole system:basic-user, which every cluster has, lets everybody ask what they may do: see what it is bound to"
        default: return nil
        }
    }
}
