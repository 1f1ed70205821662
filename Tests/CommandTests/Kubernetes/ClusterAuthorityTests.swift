import ArgumentParser
import Authority
import FoundationEssentials
import KubernetesAPI
import KubernetesKit
import Logging
import MeshAPI
import Observability
import SPIFFE
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// An authority as it runs on a cluster, with the rights that `deploy/` gives it and no others.
private struct ClusterScene {
    let server: APIServer
    let cluster: ClusterAuthority
    let rig: AuthorityRig

    static let label = "culvert.dev/mtls-enabled"
    static func running(_ body: (ClusterScene) async throws -> Void) async throws {
        let server = try await APIServer.start()
        try server.installAuthority()
        let directory = "/tmp/culvert-account-\(UInt64.random(in: 0...UInt64.max))"
        try server.writeServiceAccountMount(to: directory, "culvert-system", serviceAccount: "culvert-ca")
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let configuration = try ClusterConfiguration.inCluster(
            environment: ["KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "\(server.port)"],
            directory: directory)
        let options = try ClusterOptions.parse(["--kubernetes"])
        let cluster = ClusterAuthority(
            client: KubernetesClient(configuration, userAgent: "culvert/test"),
            settings: options.settings(configuration),
            logger: AuthorityRig.silent)
        try await AuthorityRig.running(
            registry: cluster.pods, nodeTokens: cluster.attestor, audit: { cluster.tell($0) }
        ) { rig in
            let bundles = try rig.authority.bundle.updates()
            let tasks = [Task { await cluster.pods.run() }, Task { await cluster.run(bundles: bundles) }]
            do {
                try await body(ClusterScene(server: server, cluster: cluster, rig: rig))
            } catch { Issue.record(error) }
            for task in tasks { task.cancel() }
            for task in tasks { await task.value }
        }
        await server.stop()
    }

    func namespace(_ name: String, enrolled: Bool) throws {
        try server.create(
            .namespaces, ["metadata": ["name": .string(name), "labels": enrolled ? [Self.label: "true"] : [:]]])
    }

    /// Its UID.
    @discardableResult
    func pod(
        _ name: String, in namespace: String, on node: String, account: String = "default",
        labels: KubernetesKit.JSON = [:], hostNetwork: Bool = false
    ) throws -> String {
        if server.get(.serviceAccounts, namespace, account) == nil {
            try server.create(
                .serviceAccounts, ["metadata": ["name": .string(account), "namespace": .string(namespace)]])
        }
        let made = try server.create(
            .pods,
            [
                "metadata": ["name": .string(name), "namespace": .string(namespace), "labels": labels],
                "spec": [
                    "nodeName": .string(node), "serviceAccountName": .string(account),
                    "hostNetwork": .bool(hostNetwork), "containers": [["name": "c", "image": "i"]],
                ], "status": ["phase": "Running"],
            ])
        return try #require(made["metadata"]["uid"].string)
    }

    /// A proxy's projected token.
    func proxyToken(_ pod: String, on node: String, audiences: [String] = ["culvert-ca"]) throws -> String {
        try self.pod(pod, in: "culvert-system", on: node, account: "culvert-proxy")
        return try server.token(
            "culvert-system", serviceAccount: "culvert-proxy", audiences: audiences, pod: pod)
    }

    func attest(_ token: String, as node: String) async throws -> X509SVID {
        let id = try SPIFFEID("spiffe://culvert.test/culvert/node/\(node)")
        let request = try IdentityRequest(uri: id.description)
        let attestation = try await NodeAttestor(address: rig.attestation, bundle: rig.authority.bundle.current)
            .attest(token: token, csr: request.csr)
        return try X509SVID(certificates: attestation.certificates, privateKey: request.key)
    }

    func refusal(_ token: String) async throws -> String {
        do {
            _ = try await attest(token, as: "node-1")
            return ""
        } catch let error as AuthorityCallError { return "\(error)" }
    }

    /// The identity that the node gets for a pod, or why not.
    func identity(_ uid: String, _ expected: String, _ client: AuthorityClient) async throws -> String {
        let id = try SPIFFEID(expected)
        do throws(IssuanceError) {
            _ = try await client.issue(podUID: uid, identity: id, csr: try Self.request(id), urgency: .firstUse)
            return "issued"
        } catch {
            if case .retry = error.kind { return "retry" }
            return "\(error.kind)"
        }
    }

    static func request(_ id: SPIFFEID) throws(IssuanceError) -> CertificateSigningRequest {
        do { return try IdentityRequest(uri: id.description).csr } catch { throw IssuanceError(.denied, "\(error)") }
    }
}

@Suite("An authority on Kubernetes", .timeLimit(.minutes(3)))
struct ClusterAuthorityTests {
    @Test("a node attests with its proxy's token as often as it likes, and gets its own pods' identities alone")
    func attestation() async throws {
        try await ClusterScene.running { scene in
            try scene.namespace("shop", enrolled: true)
            try scene.namespace("plain", enrolled: false)
            let mine = try scene.pod("web", in: "shop", on: "node-1", account: "web")
            let other = try scene.pod("db", in: "shop", on: "node-2", account: "db")
            let plain = try scene.pod("web", in: "plain", on: "node-1", account: "web")
            let token = try scene.proxyToken("proxy-1", on: "node-1")
            _ = try await scene.attest(token, as: "node-1")
            let svid = try await scene.attest(token, as: "node-1")
            #expect(await eventually { scene.cluster.pods.pod(uid: other) != nil })
            #expect(scene.cluster.pods.obstacle == nil)
            try await scene.rig.calling(as: svid) { client in
                let web = "spiffe://culvert.test/ns/shop/sa/web"
                #expect(try await scene.identity(mine, web, client) == "issued")
                #expect(try await scene.identity(mine, "spiffe://culvert.test/ns/shop/sa/db", client) != "issued")
                #expect(try await scene.identity(other, "spiffe://culvert.test/ns/shop/sa/db", client) == "denied")
                #expect(
                    try await scene.identity(plain, "spiffe://culvert.test/ns/plain/sa/web", client) == "retry")
                // Enrolled while it runs.
                try scene.server.update(.namespaces, "", "plain") {
                    $0["metadata"]["labels"] = [ClusterScene.label: "true"]
                }
                #expect(
                    try await eventually {
                        try await scene.identity(plain, "spiffe://culvert.test/ns/plain/sa/web", client) == "issued"
                    })
                // It ends, and another of its name begins elsewhere.
                try scene.server.delete(.pods, "shop", "web", gracePeriodSeconds: 0)
                #expect(try await eventually { try await scene.identity(mine, web, client) != "issued" })
                // Whoever runs the pod that another node asked for sees that.
                #expect(
                    await scene.server.wait { server in
                        server.list(.coreEvents, namespace: "shop").contains {
                            $0["reason"].string == "IdentityRefused"
                                && $0["involvedObject"]["uid"].string == other
                        }
                    })
            }
        }
    }

    @Test("whom the agents do not capture gets no identity, however its namespace is labelled; the refusal says why")
    func excluded() async throws {
        try await ClusterScene.running { scene in
            try scene.namespace("shop", enrolled: true)
            for namespace in ["kube-system", "culvert-system"] {
                try scene.server.update(.namespaces, "", namespace) {
                    $0["metadata"]["labels"] = [ClusterScene.label: "true"]
                }
            }
            let own = "culvert-system"
            let cases = [
                (try scene.pod("dns", in: "kube-system", on: "node-1"), "kube-system", "never enrolled"),
                (try scene.pod("host", in: "shop", on: "node-1", hostNetwork: true), "shop", "its node's network"),
                (
                    try scene.pod("out", in: "shop", on: "node-1", labels: [ClusterScene.label: "false"]), "shop",
                    "own label"
                ),
                (
                    try scene.pod("ca", in: own, on: "node-1", labels: ["app.kubernetes.io/part-of": "culvert"]), own,
                    "part of"
                ),
            ]
            let last = try scene.pod("web", in: "shop", on: "node-1")
            let svid = try await scene.attest(try scene.proxyToken("proxy-1", on: "node-1"), as: "node-1")
            #expect(await eventually { scene.cluster.pods.pod(uid: last).map { $0.exclusion == nil } ?? false })
            try await scene.rig.calling(as: svid) { client in
                for (uid, namespace, reason) in cases {
                    let id = try SPIFFEID("spiffe://culvert.test/ns/\(namespace)/sa/default")
                    do throws(IssuanceError) {
                        _ = try await client.issue(
                            podUID: uid, identity: id, csr: try ClusterScene.request(id), urgency: .firstUse)
                        Issue.record("\(id) was issued to \(uid): \(reason)")
                    } catch { #expect(error.message.contains(reason), "\(error.message)") }
                    let isAudited = scene.rig.events.contains { event in
                        guard case .denied(.podExcluded(uid, let text), _, _) = event else { return false }
                        return text.contains(reason)
                    }
                    #expect(isAudited, "\(reason)")
                }
                #expect(try await scene.identity(last, "spiffe://culvert.test/ns/shop/sa/default", client) == "issued")
            }
        }
    }

    @Test("a proxy attests by its token file, and again with the same token when the authority has forgotten its node")
    func proxy() async throws {
        try await ClusterScene.running { scene in
            let rig = scene.rig
            let file = "\(rig.directory)/token"
            // What the kubelet has not written yet is waited for.
            let session = AuthoritySession(
                settings: .init(
                    node: "node-1", trustDomain: AuthorityRig.trustDomain, authority: rig.nodes,
                    attestation: rig.attestation, bundle: rig.authority.bundle.current,
                    bundleFile: "\(rig.directory)/bundle.pem", joinTokenFile: nil,
                    stateDirectory: "\(rig.directory)/state", kubernetesTokenFile: file),
                leaves: LeafRegister(), readiness: Readiness(conditions: ["authority"]),
                logger: AuthorityRig.silent, onTrust: { _ in })
            let task = Task { try await session.run { _ in } }
            defer { task.cancel() }
            let token = try scene.proxyToken("proxy-1", on: "node-1")
            try Data(token.utf8).write(to: URL(filePath: file), options: .atomic)
            #expect(await eventually { !rig.authority.bundle.followers.isEmpty })
            let first = try #require(try rig.record("node-1")).serial
            try await rig.authority.evict(NodeName("node-1"), reason: "test", by: .thisProcess)
            #expect(
                await eventually { (try? rig.record("node-1")).map { $0.serial != first && $0.hasAttested } ?? false })
            #expect(await eventually { !rig.authority.bundle.followers.isEmpty })
        }
    }

    @Test("no other token speaks for a node")
    func refusals() async throws {
        try await ClusterScene.running { scene in
            try scene.namespace("shop", enrolled: true)
            let wrongAudience = try scene.proxyToken("proxy-a", on: "node-1", audiences: ["other"])
            #expect(try await scene.refusal(wrongAudience).contains("does not vouch"))
            let unbound = try scene.server.token(
                "culvert-system", serviceAccount: "culvert-proxy", audiences: ["culvert-ca"])
            #expect(try await scene.refusal(unbound).contains("not bound to a pod"))
            try scene.pod("web", in: "shop", on: "node-1", account: "web")
            let another = try scene.server.token(
                "shop", serviceAccount: "web", audiences: ["culvert-ca"], pod: "web")
            #expect(try await scene.refusal(another).contains("may not speak for a node"))
            #expect(try await scene.refusal("eyJ.nonsense.x").contains("does not vouch"))
            #expect(try await scene.refusal("").contains("not known"))
            let gone = try scene.proxyToken("proxy-b", on: "node-1")
            try scene.server.delete(.pods, "culvert-system", "proxy-b", gracePeriodSeconds: 0)
            #expect(try await scene.refusal(gone).contains("does not vouch"))
            let late = try scene.proxyToken("proxy-c", on: "node-1")
            scene.server.faults.add(Fault(.refuse(code: 500), resource: "tokenreviews"))
            #expect(try await scene.refusal(late).contains("does not review tokens"))
            scene.server.faults.clear()
            #expect(try await scene.refusal(late) == "", "a failure of the API server's is nobody's refusal")
            #expect(
                await scene.server.wait { server in
                    server.list(.coreEvents, namespace: "shop").contains {
                        $0["reason"].string == "AttestationRefused"
                    }
                })
        }
    }

    @Test("the trust bundle is where it belongs, is set right when it is edited, and goes with the label")
    func bundle() async throws {
        try await ClusterScene.running { scene in
            let server = scene.server
            let name = ClusterOptions.defaultBundle
            let pem = scene.rig.authority.bundle.current.pem()
            func isPublished(in namespace: String) async -> Bool {
                await server.wait(for: .configMaps, namespace, name) {
                    $0?["data"]["bundle.pem"].string == pem && $0?["data"]["bundle.json"].string != nil
                        && $0?["data"]["more"] == .null
                }
            }
            #expect(await isPublished(in: "culvert-system"))
            try scene.namespace("shop", enrolled: true)
            #expect(await isPublished(in: "shop"))
            try server.update(.configMaps, "shop", name) { $0["data"] = ["bundle.pem": "mine", "more": "x"] }
            #expect(await isPublished(in: "shop"))
            try server.delete(.configMaps, "shop", name)
            #expect(await isPublished(in: "shop"))
            try server.update(.namespaces, "", "shop") { $0["metadata"]["labels"] = [ClusterScene.label: "false"] }
            #expect(await server.wait(for: .configMaps, "shop", name) { $0 == nil })
            #expect(await isPublished(in: "culvert-system"))
            let denied = server.requests.filter { $0.code == 403 }
            #expect(denied.isEmpty, "\(denied)")
        }
    }

    @Test("the manifest gives no right that is not used")
    func rights() async throws {
        try await ClusterScene.running { scene in
            try scene.namespace("shop", enrolled: true)
            let pod = try scene.pod("web", in: "shop", on: "node-1")
            _ = try await scene.attest(try scene.proxyToken("proxy-1", on: "node-1"), as: "node-1")
            let reference = ObjectReference(kind: "Pod", namespace: "shop", name: "web", uid: pod)
            for _ in 0..<2 { scene.cluster.note(.warning, "Tried", on: reference, "rights") }
            #expect(
                await scene.server.wait { server in
                    server.list(.coreEvents, namespace: "shop").contains { $0["count"].integer == 2 }
                })
            #expect(
                await scene.server.wait(for: .configMaps, "shop", ClusterOptions.defaultBundle) { $0 != nil })
            try scene.server.update(.configMaps, "shop", ClusterOptions.defaultBundle) { $0["data"] = ["x": "y"] }
            #expect(
                await scene.server.wait(for: .configMaps, "shop", ClusterOptions.defaultBundle) {
                    $0?["data"]["x"] == .null
                })
            try scene.server.update(.namespaces, "", "shop") { $0["metadata"]["labels"] = [:] }
            #expect(
                await scene.server.wait(for: .configMaps, "shop", ClusterOptions.defaultBundle) { $0 == nil })
            let used = Set(
                scene.server.usedRules.filter { $0.role == "ClusterRole/culvert-ca" }.map {
                    "\($0.verb) \($0.resource)"
                })
            #expect(
                used == [
                    "create tokenreviews", "list pods", "watch pods", "list namespaces", "watch namespaces",
                    "list configmaps", "watch configmaps", "create configmaps", "patch configmaps", "delete configmaps",
                    "create events", "patch events",
                ])
        }
    }
}
