import Authority
import FoundationEssentials
import Glibc
import IPAddressing
import KubernetesAPI
import KubernetesKit
import MeshAPI
import NamespaceKit
import SPIFFE
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// `culvert ca serve --kubernetes` as a process, against an API server that checks its rights.
@Suite(
    "The authority's process on Kubernetes", .timeLimit(.minutes(3)),
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"))
struct ClusterServeTests {
    private struct Scene {
        let server: APIServer
        let directory: String

        /// The authority shows the token in the file `token`, as in a pod.
        static func running(_ body: (Scene) async throws -> Void) async throws {
            let server = try await APIServer.start()
            try server.installAuthority()
            let scene = Scene(server: server, directory: try TestNetwork.makeDirectory("ca-serve"))
            do {
                try scene.write(server.token("culvert-system", serviceAccount: "culvert-ca", seconds: 600), "token")
                try scene.kubeconfig()
                try await body(scene)
            } catch { Issue.record(error) }
            await server.stop()
            _ = TestNetwork.shell("rm -rf \(scene.directory)")
        }

        /// That of `other`, but for the address.
        func kubeconfig(of other: APIServer? = nil, url: String? = nil) throws {
            let text = try (other ?? server).kubeconfig(
                .tokenFile(directory + "/token"), url: url ?? server.url, namespace: "culvert-system")
            try write(text, "kubeconfig")
        }

        func write(_ text: String, _ name: String) throws {
            try text.write(toFile: directory + "/" + name, atomically: true, encoding: .utf8)
        }

        func client() throws -> KubernetesClient {
            KubernetesClient(
                try ClusterConfiguration.load(kubeconfig: directory + "/kubeconfig", environment: [:]),
                userAgent: "culvert/test")
        }

        /// What the shell prints, with `$serve` for the command.
        func shell(_ script: String) throws -> String {
            TestNetwork.shell(
                """
                cd \(directory); unset KUBECONFIG KUBERNETES_SERVICE_HOST POD_NAMESPACE; export HOME=\(directory)
                serve="\(try #require(Transcript.binary)) ca serve --kubernetes --kubeconfig kubeconfig --data data \
                --trust-domain td.test --admin-socket ca.sock"
                \(script)
                """)
        }

        func check() throws -> String { try shell("timeout 60 $serve --check 2>&1; echo exit $?") }
    }

    @Test("--check: with the manifest's rights nothing is wrong, and nothing is changed")
    func well() async throws {
        try await Scene.running { scene in
            let before = scene.server.resourceVersion
            let said = try scene.check()
            #expect(said == "nothing is wrong\nexit 0\n")
            #expect(scene.server.resourceVersion == before)
            #expect(access(scene.directory + "/data", F_OK) != 0)
        }
    }

    @Test("--check: asks for each right that the manifest grants, and names the one that is missing")
    func rights() async throws {
        try await Scene.running { scene in
            let rules = scene.server.get(.clusterRoles, "", "culvert-ca")?["rules"].array ?? []
            var grants: [(right: AccessRight, rule: KubernetesKit.JSON)] = []
            for rule in rules {
                for verb in rule["verbs"].array ?? [] {
                    for resource in rule["resources"].array ?? [] {
                        var single = rule
                        (single["verbs"], single["resources"]) = (.array([verb]), .array([resource]))
                        let right = AccessRight(
                            verb.string ?? "", resource.string ?? "", group: rule["apiGroups"][0].string ?? "",
                            name: rule["resourceNames"][0].string ?? "")
                        grants.append((right, single))
                    }
                }
            }
            let needs = ClusterPreflight.needs(bundle: ClusterOptions.defaultBundle)
            #expect(Set(needs.map(\.right)) == Set(grants.map(\.right)))
            #expect(needs.count == grants.count && needs.count == 13)
            let preflight = ClusterPreflight(client: try scene.client(), bundle: ClusterOptions.defaultBundle)
            for need in needs {
                let left = grants.filter { $0.right != need.right }.map(\.rule)
                try scene.server.update(.clusterRoles, "", "culvert-ca") { $0["rules"] = .array(left) }
                let problems = await preflight.problems()
                #expect(
                    problems.map(\.description) == [
                        "\(scene.server.url): may not \(need.right): without it \(need.purpose)"
                    ])
                #expect(problems.first?.hint?.contains("deploy/base/authority-rbac.yaml") == true)
            }
            try scene.server.update(.clusterRoles, "", "culvert-ca") { $0["rules"] = .array(Array(rules.dropFirst())) }
            let said = try scene.check()
            #expect(
                said.hasPrefix(
                    "error: \(scene.server.url): may not create tokenreviews.authentication.k8s.io: without it no node can attest\n"
                        + "hint: deploy/base/authority-rbac.yaml grants it"), "\(said)")
            #expect(said.hasSuffix("\n1 problem\nexit 78\n"), "\(said)")
        }
    }

    @Test("--check: a server that is not there, has another CA's certificate, or takes the token no more")
    func unreachable() async throws {
        try await Scene.running { scene in
            let port = try freePort()
            try scene.kubeconfig(url: "https://127.0.0.1:\(port)")
            func expect(_ parts: String...) throws {
                let said = try scene.check()
                for part in parts + ["1 problem\nexit 78\n"] { #expect(said.contains(part), "\(said)") }
            }
            try expect(
                "error: https://127.0.0.1:\(port): the API server cannot be reached", "hint: see that the address")

            let other = try await APIServer.start()
            try scene.kubeconfig(of: other)
            try expect(
                "error: \(scene.server.url): the API server cannot be reached: ", "CERTIFICATE_VERIFY_FAILED",
                "by the CA of")
            await other.stop()

            try scene.kubeconfig()
            scene.server.clock.advance(seconds: 700)
            try expect("the API server answered 401", "hint: the token or certificate of context", "has expired")

            try scene.write("", "kubeconfig")
            try expect("error: the cluster cannot be reached: ", "hint: name a kubeconfig with --kubeconfig")
        }
    }

    @Test("a node attests with its proxy's token, gets its pod's SVID, and finds the bundle in the ConfigMap")
    func serves() async throws {
        try await Scene.running { scene in
            let server = scene.server
            try server.create(
                .namespaces, ["metadata": ["name": "shop", "labels": ["culvert.dev/mtls-enabled": "true"]]])
            func pod(_ name: String, _ namespace: String, _ account: String) throws -> String {
                try server.create(
                    .serviceAccounts, ["metadata": ["name": .string(account), "namespace": .string(namespace)]])
                let pod = try server.create(
                    .pods,
                    [
                        "metadata": ["name": .string(name), "namespace": .string(namespace)],
                        "spec": [
                            "nodeName": "node-1", "serviceAccountName": .string(account),
                            "containers": [["name": "c", "image": "i"]],
                        ], "status": ["phase": "Running"],
                    ])
                return try #require(pod["metadata"]["uid"].string)
            }
            let web = try pod("web", "shop", "web")
            _ = try pod("proxy", "culvert-system", "culvert-proxy")
            let (nodes, attestation) = (try freePort(), try freePort())
            let process = try scene.shell(
                """
                $serve --listen 127.0.0.1:\(nodes) --attest-listen 127.0.0.1:\(attestation) >log 2>&1 </dev/null & echo $!
                """
            ).filter(\.isNumber)
            defer { _ = TestNetwork.shell("kill -9 \(process) 2>/dev/null") }
            func log() -> String { TestNetwork.shell("cat \(scene.directory)/log") }

            let name = ClusterOptions.defaultBundle
            for namespace in ["culvert-system", "shop"] {
                let isThere = await server.wait(for: .configMaps, namespace, name) {
                    $0?["data"]["bundle.pem"].string != nil
                }
                #expect(isThere, "\(log())")
            }
            let pem = try #require(server.get(.configMaps, "culvert-system", name)?["data"]["bundle.pem"].string)
            let domain = try TrustDomain("td.test")
            let bundle = try TrustBundle(trustDomain: domain, pem: pem)
            let token = try server.token(
                "culvert-system", serviceAccount: "culvert-proxy", audiences: ["culvert-ca"], pod: "proxy")
            func address(_ port: UInt16) -> IPAddressing.SocketAddress { .init(.loopback(.v4), port: port) }
            let request = try IdentityRequest(uri: "spiffe://td.test/culvert/node/node-1")
            let attested = try await NodeAttestor(address: address(attestation), bundle: bundle)
                .attest(token: token, csr: request.csr)
            let node = try X509SVID(certificates: attested.certificates, privateKey: request.key)

            let client = try AuthorityClient(
                address: address(nodes), trustDomain: domain, svid: node, bundles: TrustBundleSet([bundle]))
            let task = Task { try await client.run() }
            defer { task.cancel() }
            let id = try SPIFFEID("spiffe://td.test/ns/shop/sa/web")
            let asked = try IdentityRequest(uri: id.description)
            let issued = try await client.issue(podUID: web, identity: id, csr: asked.csr, urgency: .firstUse)
            let svid = try X509SVID(certificates: issued, privateKey: asked.key)
            #expect(svid.id == id)
            let ended = TestNetwork.shell(
                "kill -TERM \(process); timeout 60 tail --pid=\(process) -f /dev/null; echo ended")
            #expect(ended == "ended\n" && log().contains("Authority ended"), "\(log())")
            #expect(server.requests.filter { $0.code == 403 }.isEmpty)
        }
    }
}
