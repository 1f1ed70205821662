import KubernetesKit
import Testing

@Suite("kubectl works with the stand-in", .enabled(if: standInIsThere))
struct KubectlTests {
    @Test("it is told the version, the resources and who it is")
    func discovery() async throws {
        try await Scene.run { scene in
            let version = try await scene.succeed("version", "-o", "json")
            #expect(version.json["serverVersion"]["major"] == "1")
            let resources = try await scene.succeed("api-resources", "--verbs=list", "-o", "name")
            let names = Set(resources.output.split(separator: "\n").map(String.init))
            #expect(names.isSuperset(of: ["pods", "namespaces", "daemonsets.apps", "endpointslices.discovery.k8s.io"]))
            // Earlier ones read the schemas in OpenAPI version 2 only.
            guard try await scene.kubectl.minorVersion >= 27 else { return }
            let explained = try await scene.succeed("explain", "pod.spec.containers.ports")
            #expect(explained.output.contains("containerPort"))
        }
    }

    @Test("get prints names, ages and each kind's own columns; -o yaml and json have the whole object")
    func get() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.pod("one", labels: ["app": "web"]))
            let table = try await scene.succeed("get", "pods")
            let lines = table.output.split(separator: "\n")
            #expect(
                lines.first?.split(separator: " ").map(String.init) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"])
            #expect(lines.last?.hasPrefix("one") == true && lines.last?.contains("Pending") == true)
            let wide = try await scene.succeed("get", "pods", "-o", "wide", "--show-labels")
            #expect(wide.output.contains("NODE") && wide.output.contains("app=web"))
            let json = try await scene.succeed("get", "pod", "one", "-o", "json").json
            #expect(json["kind"] == "Pod" && json["spec"]["restartPolicy"] == "Always")
            #expect(json["spec"]["serviceAccountName"] == "default")
            let yaml = try await scene.succeed("get", "pods", "-o", "yaml")
            #expect(yaml.output.contains("kind: List") && yaml.output.contains("image: example.com/app:1"))
            let namespaces = try await scene.succeed("get", "namespaces")
            #expect(namespaces.output.contains("STATUS") && namespaces.output.contains("Active"))
            let none = try await scene.kubectl("get", "pod", "two", "-n", scene.namespace)
            #expect(none.error == "Error from server (NotFound): pods \"two\" not found\n")
        }
    }

    @Test("label and annotate add, refuse to overwrite, overwrite, and take away")
    func labels() async throws {
        try await Scene.run { scene in
            _ = try await scene.succeed("label", "namespace", scene.namespace, "culvert.dev/mtls-enabled=true")
            let label = #"{.metadata.labels.culvert\.dev/mtls-enabled}"#
            let shown = try await scene.succeed("get", "namespace", scene.namespace, "-o", "jsonpath=\(label)")
            #expect(shown.output == "true")
            let again = try await scene.kubectl("label", "namespace", scene.namespace, "culvert.dev/mtls-enabled=false")
            #expect(!again.succeeded && again.error.contains("--overwrite"))
            _ = try await scene.succeed(
                "label", "--overwrite", "namespace", scene.namespace, "culvert.dev/mtls-enabled=no")
            _ = try await scene.succeed("label", "namespace", scene.namespace, "culvert.dev/mtls-enabled-")
            let gone = try await scene.succeed("get", "namespace", scene.namespace, "-o", "jsonpath=\(label)")
            #expect(gone.output.isEmpty)
            try await scene.create(scene.pod("one"))
            _ = try await scene.succeed("annotate", "pod", "one", "example.com/note=a, b = c")
            let note = try await scene.succeed(
                "get", "pod", "one", "-o", #"jsonpath={.metadata.annotations.example\.com/note}"#)
            #expect(note.output == "a, b = c")
            let wrong = try await scene.kubectl("label", "namespace", scene.namespace, "a=-b-")
            #expect(wrong.error.contains("a valid label must be an empty string or consist of alphanumeric"))
        }
    }

    private let daemonSet = """
        apiVersion: apps/v1
        kind: DaemonSet
        metadata: {name: agent, labels: {app: agent}}
        spec:
          selector: {matchLabels: {app: agent}}
          template:
            metadata: {labels: {app: agent}}
            spec:
              nodeSelector: {conformance: nowhere}
              containers:
              - name: agent
                image: example.com/agent:1
                env: [{name: A, value: "1"}, {name: B, value: "2"}]
              - name: proxy
                image: example.com/proxy:1
                ports: [{containerPort: 15008}]
        """

    @Test("apply creates, changes what changed, and takes away what is no longer said; unknown fields are refused")
    func apply() async throws {
        try await Scene.run { scene in
            let created = try await scene.succeed("apply", "-f", "-", input: daemonSet)
            #expect(created.output == "daemonset.apps/agent created\n")
            let same = try await scene.succeed("apply", "-f", "-", input: daemonSet)
            #expect(same.output == "daemonset.apps/agent unchanged\n")
            let changed = daemonSet.replacing("agent:1", with: "agent:2").replacing(
                "{name: A, value: \"1\"}, ", with: "")
            let configured = try await scene.succeed("apply", "-f", "-", input: changed)
            #expect(configured.output == "daemonset.apps/agent configured\n")
            let set = try await scene.succeed("get", "ds", "agent", "-o", "json").json
            let containers = set["spec"]["template"]["spec"]["containers"]
            #expect(containers[0]["image"] == "example.com/agent:2")
            #expect(containers[0]["env"] == [["name": "B", "value": "2"]])
            #expect(containers[1]["name"] == "proxy")
            #expect(set["metadata"]["generation"] == 2)
            let wrong = try await scene.kubectl(
                "apply", "-n", scene.namespace, "-f", "-",
                input: daemonSet.replacing("selector:", with: "selektor: {}\n  selector:"))
            #expect(wrong.error.contains("unknown field \"spec.selektor\""), "\(wrong.error)")
            _ = try await scene.succeed("delete", "ds", "agent")
            // Earlier ones read in OpenAPI version 2 whether a server can do that.
            guard try await scene.kubectl.minorVersion >= 27 else { return }
            let dry = try await scene.succeed(
                "apply", "--dry-run=server", "-f", "-",
                input: daemonSet.replacing("name: agent, l", with: "name: other, l"))
            #expect(dry.output.contains("created (server dry run)"))
            let other = try await scene.kubectl("get", "ds", "other", "-n", scene.namespace)
            #expect(!other.succeeded)
        }
    }

    @Test("server-side apply keeps to each manager's fields, and says who is in the way")
    func serverSideApply() async throws {
        try await Scene.run { scene in
            func map(_ data: String) -> String {
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: \(data)\n"
            }
            _ = try await scene.succeed(
                "apply", "--server-side", "--field-manager=one", "-f", "-", input: map(#"{a: "1", b: "1"}"#))
            _ = try await scene.succeed(
                "apply", "--server-side", "--field-manager=two", "-f", "-", input: map(#"{c: "3"}"#))
            let conflict = try await scene.kubectl(
                "apply", "-n", scene.namespace, "--server-side", "--field-manager=two", "-f", "-",
                input: map(#"{a: "2", c: "3"}"#))
            #expect(!conflict.succeeded)
            #expect(
                conflict.error.contains(#"conflict with "one""#) && conflict.error.contains(".data.a"),
                "\(conflict.error)")
            _ = try await scene.succeed(
                "apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-",
                input: map(#"{a: "2", c: "3"}"#))
            _ = try await scene.succeed("apply", "--server-side", "--field-manager=one", "-f", "-", input: map("{}"))
            let data = try await scene.succeed("get", "cm", "shared", "-o", "json").json["data"]
            #expect(data == ["a": "2", "c": "3"])
            let managed = try await scene.kubectl.request("GET", "\(scene.core)/configmaps/shared").json
            let two = (managed["metadata"]["managedFields"].array ?? []).first { $0["manager"] == "two" }
            #expect(two?["operation"] == "Apply")
            #expect(two?["fieldsV1"]["f:data"] == ["f:a": .object([:]), "f:c": .object([:])])
        }
    }

    @Test(
        "patch works in its three types",
        arguments: [
            ("strategic", #"{"spec":{"containers":[{"name":"app","image":"example.com/app:2"}]}}"#),
            (
                "merge",
                #"{"spec":{"containers":[{"name":"app","image":"example.com/app:2"}]},"metadata":{"labels":{"x":null}}}"#
            ),
            ("json", #"[{"op":"replace","path":"/spec/containers/0/image","value":"example.com/app:2"}]"#),
        ])
    func patch(type: String, patch: String) async throws {
        try await Scene.run { scene in
            try await scene.create(scene.pod("one", labels: ["x": "y"]))
            let output = try await scene.kubectl(
                "patch", "pod", "one", "-n", scene.namespace, "--type", type, "-p", patch)
            let pod = try await scene.succeed("get", "pod", "one", "-o", "json").json
            if type == "merge" {
                // The whole list was replaced, and with it what had been filled in: that is not allowed in a pod.
                #expect(output.error.contains("pod updates may not change fields other than"), "\(output.error)")
                #expect(pod["metadata"]["labels"] == ["x": "y"])
            } else {
                #expect(output.succeeded, "\(output.error)")
                #expect(pod["spec"]["containers"][0]["image"] == "example.com/app:2")
                #expect(pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent")
            }
        }
    }

    @Test("delete waits until the pod is gone; a namespace takes its contents along")
    func delete() async throws {
        var configuration = APIServer.Configuration.both
        configuration.kubelet = .immediate
        try await Scene.run(configuration) { scene in
            try await scene.create(scene.pod("one"))
            try await scene.create(scene.configMap("map"))
            let deleted = try await scene.succeed("delete", "pod", "one", "--wait=true", "--timeout=20s")
            #expect(deleted.output == "pod \"one\" deleted\n")
            let namespace = try await scene.succeed("delete", "namespace", scene.namespace, "--timeout=60s")
            #expect(namespace.output.contains("deleted"))
            let gone = try await scene.kubectl("get", "cm", "map", "-n", scene.namespace)
            #expect(gone.error.contains("NotFound"))
        }
    }

    @Test("get --watch prints what changes")
    func watch() async throws {
        try await Scene.runStandIn { scene, server in
            try await scene.create(scene.pod("one"))
            async let output = scene.kubectl.run(
                ["kubectl", "get", "pods", "-n", scene.namespace, "--watch", "-o", "name"])
            #expect(await server.wait { $0.watchCount >= 1 })
            try await scene.create(scene.pod("two"))
            #expect(await server.wait { server in server.requests.contains { $0.verb == "watch" } })
            server.endWatches()
            #expect(try await output.output == "pod/one\npod/two\n")
        }
    }

    @Test("create token, auth whoami and auth can-i tell what roles give")
    func access() async throws {
        try await Scene.runStandIn { scene, server in
            _ = try await scene.succeed("create", "serviceaccount", "reader")
            _ = try await scene.succeed("create", "role", "read", "--verb=get,list", "--resource=pods")
            _ = try await scene.succeed(
                "create", "rolebinding", "read", "--role=read", "--serviceaccount=\(scene.namespace):reader")
            let isModern = try await scene.kubectl.minorVersion >= 28
            let token =
                isModern
                ? try await scene.succeed("create", "token", "reader", "--duration=20m").output
                : try server.token(scene.namespace, serviceAccount: "reader")
            let reader = try Kubectl(server, .token(token.replacing("\n", with: "")), namespace: scene.namespace)
            #expect(try await reader("get", "pods").succeeded)
            let refused = try await reader("delete", "pod", "one")
            #expect(
                refused.error == "Error from server (Forbidden): pods \"one\" is forbidden: User "
                    + "\"system:serviceaccount:\(scene.namespace):reader\" cannot delete resource \"pods\" in API group \"\" "
                    + "in the namespace \"\(scene.namespace)\"\n")
            #expect(try await reader("auth", "can-i", "list", "pods").output == "yes\n")
            #expect(try await reader("auth", "can-i", "delete", "pods").output == "no\n")
            if isModern {
                let me = try await reader("auth", "whoami", "-o", "json").json
                #expect(me["status"]["userInfo"]["username"] == "system:serviceaccount:\(scene.namespace):reader")
            }
            let rules = server.usedRules.filter { $0.role == "Role/\(scene.namespace)/read" }
            #expect(Set(rules.map(\.verb)) == ["list"])
        }
    }
}
