import FoundationEssentials
import Glibc
import KubernetesKit
import Testing

/// A cluster of its own for each test; or, with `KUBECONFIG_UNDER_TEST`, another API server, which the same tests must hold for.
struct Scene {
    /// Nil where the tests run against another server.
    let server: APIServer?
    let kubectl: Kubectl
    /// A namespace that is this test's alone.
    let namespace: String

    static var isForeign: Bool { getenv("KUBECONFIG_UNDER_TEST") != nil }

    static func run(
        _ configuration: APIServer.Configuration = .both, _ body: (Scene) async throws -> Void
    ) async throws {
        let namespace = "conformance-\(UInt32.random(in: 0..<(.max)))"
        if let path = getenv("KUBECONFIG_UNDER_TEST") {
            let kubectl = try Kubectl(kubeconfig: try String(contentsOfFile: String(cString: path), encoding: .utf8))
            let scene = Scene(server: nil, kubectl: kubectl, namespace: namespace)
            try await kubectl("create", "namespace", namespace)
            try await scene.waitForServiceAccount()
            do {
                try await body(scene)
            } catch {
                try await kubectl("delete", "namespace", namespace, "--wait=false")
                throw error
            }
            try await kubectl("delete", "namespace", namespace, "--wait=false")
            return
        }
        let server = try await APIServer.start(configuration)
        try server.ensureNamespace(namespace)
        let scene = Scene(server: server, kubectl: try Kubectl(server), namespace: namespace)
        do {
            try await body(scene)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    /// The stand-in, for what only it can do.
    static func runStandIn(
        _ configuration: APIServer.Configuration = .both, _ body: (Scene, APIServer) async throws -> Void
    ) async throws {
        try await run(configuration) { scene in
            guard let server = scene.server else { return }
            try await body(scene, server)
        }
    }

    private func waitForServiceAccount() async throws {
        // A controller makes it; older kubectls cannot wait for what is not there yet.
        for _ in 0..<150 {
            if try await kubectl("get", "serviceaccount", "default", "-n", namespace).succeeded { return }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    var core: String { "/api/v1/namespaces/\(namespace)" }

    /// A pod that no scheduler takes: its node is named, and nothing runs there.
    func pod(_ name: String, labels: JSON = nil, node: String? = nil) -> JSON {
        [
            "apiVersion": "v1", "kind": "Pod",
            "metadata": ["name": .string(name), "namespace": .string(namespace), "labels": labels],
            "spec": [
                "nodeName": JSON(node), "nodeSelector": ["conformance": "nowhere"],
                "containers": [["name": "app", "image": "example.com/app:1"]],
            ],
        ]
    }

    func configMap(_ name: String, _ data: JSON = ["a": "1"], labels: JSON = nil) -> JSON {
        [
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": ["name": .string(name), "namespace": .string(namespace), "labels": labels], "data": data,
        ]
    }

    @discardableResult
    func create(_ object: JSON) async throws -> JSON {
        let plural = object["kind"].string == "ConfigMap" ? "configmaps" : "pods"
        let reply = try await kubectl.request("POST", "\(core)/\(plural)", body: object)
        #expect(reply.code == 201, "\(reply.body)")
        return reply.json
    }

    /// kubectl in this test's namespace; what fails is shown.
    func succeed(_ arguments: String..., input: String = "", line: SourceLocation = #_sourceLocation) async throws
        -> ProcessOutput
    {
        let output = try await kubectl.run(["kubectl", "-n", namespace] + arguments, input: input)
        #expect(output.succeeded, "\(arguments): \(output.error)\(output.output)", sourceLocation: line)
        return output
    }
}

/// Both are programs that `make test` installs.
let standInIsThere = Kubectl.isInstalled && access("/usr/bin/curl", X_OK) == 0

extension APIServer.Configuration {
    /// HTTP/2 and HTTP/1.1: kubectl and curl take the former.
    static var both: Self {
        var configuration = Self()
        configuration.hasHTTP2 = true
        return configuration
    }
}
