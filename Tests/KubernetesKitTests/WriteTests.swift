import KubernetesKit
import Testing

@Suite("Writes", .enabled(if: standInIsThere))
struct WriteTests {
    @Test("an old resourceVersion, another uid, and a name that is taken are 409; a changed nothing is no new version")
    func conflicts() async throws {
        try await Scene.run { scene in
            let first = try await scene.create(scene.configMap("a"))
            let again = try await scene.kubectl.request("POST", "\(scene.core)/configmaps", body: scene.configMap("a"))
            #expect(again.code == 409 && again.reason == "AlreadyExists")
            #expect(again.message == "configmaps \"a\" already exists")
            var changed = first
            changed["data"] = ["a": "2"]
            let second = try await scene.kubectl.request("PUT", "\(scene.core)/configmaps/a", body: changed)
            #expect(second.code == 200)
            let stale = try await scene.kubectl.request("PUT", "\(scene.core)/configmaps/a", body: changed)
            #expect(stale.code == 409 && stale.reason == "Conflict")
            #expect(
                stale.message
                    == "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply "
                    + "your changes to the latest version and try again")
            let same = try await scene.kubectl.request("PUT", "\(scene.core)/configmaps/a", body: second.json)
            #expect(same.json["metadata"]["resourceVersion"] == second.json["metadata"]["resourceVersion"])
            var stranger = second.json
            stranger["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
            #expect(try await scene.kubectl.request("PUT", "\(scene.core)/configmaps/a", body: stranger).code == 409)
            let guarded: JSON = ["preconditions": ["uid": "00000000-0000-0000-0000-000000000000"]]
            let kept = try await scene.kubectl.request("DELETE", "\(scene.core)/configmaps/a", body: guarded)
            #expect(kept.code == 409 && kept.message.contains("Precondition failed: UID in precondition"))
            #expect(try await scene.kubectl.request("PUT", "\(scene.core)/configmaps/b", body: second.json).code == 400)
            #expect(
                try await scene.kubectl.request(
                    "PATCH", "\(scene.core)/configmaps/b", body: [:], contentType: "application/merge-patch+json"
                ).code == 404)
        }
    }

    @Test(
        "what is no valid object is 422 with the field's name",
        arguments: [
            (["metadata": ["name": "Upper"]], "metadata.name"), (["metadata": .object([:])], "metadata.name"),
            (["metadata": ["name": "a", "labels": ["a": "-"]]], "metadata.labels"),
            (["metadata": ["name": "a", "labels": ["a b": ""]]], "metadata.labels"),
            (
                ["metadata": ["name": "a", "annotations": ["a": .string(String(repeating: "x", count: 256 << 10))]]],
                "metadata.annotations"
            ), (["metadata": ["name": "a"], "data": ["a/b": ""]], "data[a/b]"),
        ] as [(JSON, String)])
    func invalid(object: JSON, field: String) async throws {
        try await Scene.run { scene in
            var object = object
            object["apiVersion"] = "v1"
            object["kind"] = "ConfigMap"
            let reply = try await scene.kubectl.request("POST", "\(scene.core)/configmaps", body: object)
            #expect(reply.code == 422 && reply.reason == "Invalid", "\(reply.body.prefix(300))")
            #expect(reply.json["details"]["causes"][0]["field"].string == field)
            #expect(reply.json["details"]["kind"] == "ConfigMap")
        }
    }

    @Test(
        "unknown and repeated fields are refused, warned of or ignored, as the client wants; wrong types always refused"
    )
    func fieldValidation() async throws {
        try await Scene.run { scene in
            let path = "\(scene.core)/configmaps"
            let text =
                #"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"NAME"},"date":{},"data":{"a":"1","a":"2"}}"#
            func post(_ name: String, _ validation: String) async throws -> Kubectl.Reply {
                try await scene.kubectl.request(
                    "POST", path + validation, text: text.replacing("NAME", with: name))
            }
            let strict = try await post("a", "?fieldValidation=Strict")
            #expect(strict.code == 400 && strict.reason == "BadRequest")
            #expect(
                strict.message.contains("unknown field \"date\"")
                    && strict.message.contains("duplicate field \"data.a\""))
            let warned = try await post("b", "")
            #expect(warned.code == 201 && warned.headers["warning"]?.hasPrefix("299 - \"") == true)
            #expect(warned.json["date"] == .null && warned.json["data"] == ["a": "2"])
            let ignored = try await post("c", "?fieldValidation=Ignore")
            #expect(ignored.code == 201 && ignored.headers["warning"] == nil)
            #expect(try await post("d", "?fieldValidation=Sometimes").code == 422)
            let mistyped = try await scene.kubectl.request(
                "POST", path, text: #"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"e"},"data":{"a":1}}"#)
            #expect(mistyped.code == 400, "\(mistyped.body)")
            #expect(try await scene.kubectl.request("POST", path, text: "{").code == 400)
        }
    }

    @Test("media types and verbs that are not served are 415 and 405; kinds that are not there 404")
    func unserved() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.configMap("a"))
            let path = "\(scene.core)/configmaps"
            #expect(try await scene.kubectl.request("POST", path, text: "{}", contentType: "text/plain").code == 415)
            let patch = try await scene.kubectl.request("PATCH", path + "/a", text: "{}")
            #expect(patch.code == 415 && patch.reason == "UnsupportedMediaType")
            #expect(patch.message.contains("application/strategic-merge-patch+json"))
            let put = try await scene.kubectl.request("PUT", path, body: scene.configMap("a"))
            #expect(put.code == 405 && put.reason == "MethodNotAllowed")
            #expect(
                try await scene.kubectl.request("POST", "/api/v1/configmaps", body: scene.configMap("b")).code == 405)
            #expect(try await scene.kubectl.request("GET", "\(scene.core)/widgets").code == 404)
            #expect(try await scene.kubectl.request("GET", "/apis/example.com/v1/widgets").code == 404)
            #expect(try await scene.kubectl.request("GET", path + "/a/status").code == 404)
            let wrong = try await scene.kubectl.request("POST", "\(scene.core)/secrets", body: scene.configMap("b"))
            #expect(wrong.code == 400)
            let elsewhere = try await scene.kubectl.request(
                "POST", "/api/v1/namespaces/default/configmaps", body: scene.configMap("b"))
            #expect(elsewhere.code == 400)
            let nowhere = try await scene.kubectl.request(
                "POST", "/api/v1/namespaces/no-such-namespace/configmaps",
                body: ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "a"]])
            #expect(nowhere.code == 404 && nowhere.message == "namespaces \"no-such-namespace\" not found")
        }
    }

    @Test("the status is written through its own path only, conditions by their type; the rest of a pod is fixed")
    func status() async throws {
        try await Scene.run { scene in
            var pod = scene.pod("one", node: "node-1")
            pod["status"] = ["phase": "Running", "podIP": "10.9.9.9"]
            let created = try await scene.create(pod)
            #expect(created["status"]["phase"] == "Pending" && created["status"]["podIP"] == .null)
            let path = "\(scene.core)/pods/one"
            func patch(_ body: JSON, _ subresource: String = "") async throws -> Kubectl.Reply {
                try await scene.kubectl.request(
                    "PATCH", path + subresource, body: body, contentType: "application/strategic-merge-patch+json")
            }
            func condition(_ type: String, _ status: String) -> JSON {
                ["status": ["conditions": [["type": .string(type), "status": .string(status)]]]]
            }
            let past = try await patch(condition("example.com/A", "True"))
            #expect(past.code == 200 && past.json["status"]["conditions"] == .null)
            _ = try await patch(condition("example.com/A", "True"), "/status")
            _ = try await patch(condition("example.com/B", "False"), "/status")
            let both = try await patch(condition("example.com/A", "False"), "/status")
            let conditions = (both.json["status"]["conditions"].array ?? []).map {
                "\($0["type"].text) \($0["status"].text)"
            }
            #expect(Set(conditions) == ["\"example.com/A\" \"False\"", "\"example.com/B\" \"False\""])
            let annotated = try await patch(["metadata": ["annotations": ["example.com/state": "enrolled"]]])
            #expect(annotated.code == 200)
            let moved = try await patch(["spec": ["nodeName": "node-2"]])
            #expect(moved.code == 422 && moved.message.contains("pod updates may not change fields other than"))
            let younger = try await patch(["metadata": ["creationTimestamp": "2020-01-01T00:00:00Z"]])
            #expect(younger.code == 422 && younger.message.contains("field is immutable"))
        }
    }

    @Test("a dry run answers as if, and changes nothing; generateName makes a name")
    func dryRun() async throws {
        try await Scene.run { scene in
            let path = "\(scene.core)/configmaps"
            let dry = try await scene.kubectl.request("POST", path + "?dryRun=All", body: scene.configMap("a"))
            #expect(dry.code == 201 && dry.json["metadata"]["uid"] != .null)
            #expect(dry.json["metadata"]["resourceVersion"] == .null)
            #expect(try await scene.kubectl.request("GET", path + "/a").code == 404)
            #expect(
                try await scene.kubectl.request("POST", path + "?dryRun=Some", body: scene.configMap("a")).code == 422)
            let body: JSON = ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["generateName": "made-"]]
            let made = try await scene.kubectl.request("POST", path, body: body)
            let name = made.json["metadata"]["name"].string ?? ""
            #expect(name.hasPrefix("made-") && name.utf8.count == 10)
        }
    }

    @Test("JSON patches: a test that fails is 422, and nothing is changed; nonsense is 400")
    func jsonPatch() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.configMap("a", ["a": "1", "b.c": "x"]))
            func patch(_ text: String) async throws -> Kubectl.Reply {
                try await scene.kubectl.request(
                    "PATCH", "\(scene.core)/configmaps/a", text: text, contentType: "application/json-patch+json")
            }
            let failed = try await patch(
                #"[{"op":"add","path":"/data/n","value":"1"},{"op":"test","path":"/data/a","value":"2"}]"#)
            #expect(failed.code == 422 && failed.reason == "Invalid")
            let done = try await patch(
                #"""
                [{"op":"test","path":"/data/a","value":"1"},{"op":"move","from":"/data/a","path":"/data/m"},
                {"op":"add","path":"/metadata/labels","value":{"x~y":"1"}},{"op":"remove","path":"/metadata/labels/x~0y"}]
                """#)
            #expect(done.json["data"] == ["b.c": "x", "m": "1"], "\(done.body)")
            #expect(try await patch(#"[{"op":"remove","path":"/data/none"}]"#).code == 422)
            #expect(try await patch(#"{"op":"remove"}"#).code == 400)
        }
    }

    @Test("an event is of both groups; each has its own names for the same fields, and its own rules")
    func events() async throws {
        try await Scene.run { scene in
            let subject: JSON = [
                "kind": "Pod", "apiVersion": "v1", "name": "one", "namespace": .string(scene.namespace),
            ]
            let path = "/apis/events.k8s.io/v1/namespaces/\(scene.namespace)/events"
            var event: JSON = [
                "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": ["name": "one.1"], "regarding": subject,
                "reason": "Enrolled", "note": "done", "type": "Normal", "action": "Enrol",
                "eventTime": "2026-01-01T00:00:00.123456Z", "reportingController": "culvert.dev/agent",
                "reportingInstance": "node-1",
            ]
            let made = try await scene.kubectl.request("POST", path, body: event)
            #expect(made.code == 201 && made.json["note"] == "done", "\(made.body)")
            let core = try await scene.kubectl.request("GET", "\(scene.core)/events/one.1").json
            #expect(core["message"] == "done" && core["involvedObject"]["name"] == "one" && core["apiVersion"] == "v1")
            let found = try await scene.succeed("get", "events", "--field-selector", "involvedObject.name=one")
            #expect(found.output.contains("Enrolled"))
            event["metadata"]["name"] = "one.2"
            event["action"] = nil
            let silent = try await scene.kubectl.request("POST", path, body: event)
            #expect(silent.code == 422 && silent.message.contains("action: Required value"), "\(silent.body)")
            let elsewhere: JSON = [
                "kind": "Event", "apiVersion": "v1", "metadata": ["name": "one.3"],
                "involvedObject": ["kind": "Pod", "name": "one", "namespace": "default"], "reason": "R", "message": "m",
            ]
            let refused = try await scene.kubectl.request("POST", "\(scene.core)/events", body: elsewhere)
            #expect(refused.code == 422 && refused.message.contains("does not match event.namespace"))
        }
    }

    @Test("finalizers keep a deleted object until they are taken away; a graceful pod stays until the kubelet's word")
    func deletion() async throws {
        try await Scene.run { scene in
            var map = scene.configMap("kept")
            map["metadata"]["finalizers"] = ["example.com/hold"]
            try await scene.create(map)
            let path = "\(scene.core)/configmaps/kept"
            _ = try await scene.kubectl.request("DELETE", path)
            let marked = try await scene.kubectl.request("GET", path)
            #expect(marked.json["metadata"]["deletionTimestamp"] != .null)
            _ = try await scene.kubectl.request(
                "PATCH", path, text: #"{"metadata":{"finalizers":null}}"#, contentType: "application/merge-patch+json")
            #expect(try await scene.kubectl.request("GET", path).code == 404)
            try await scene.create(scene.pod("one", node: "node-1"))
            let pod = "\(scene.core)/pods/one"
            let graceful = try await scene.kubectl.request("DELETE", pod, body: ["gracePeriodSeconds": 20])
            #expect(graceful.code == 200 && graceful.json["metadata"]["deletionGracePeriodSeconds"] == 20)
            let shorter = try await scene.kubectl.request("DELETE", pod, body: ["gracePeriodSeconds": 5])
            #expect(shorter.json["metadata"]["deletionGracePeriodSeconds"] == 5)
            let word = try await scene.kubectl.request("DELETE", pod, body: ["gracePeriodSeconds": 0])
            #expect(word.code == 200)
            #expect(try await scene.kubectl.request("GET", pod).code == 404)
            // What runs nowhere has no grace.
            try await scene.create(scene.pod("two"))
            _ = try await scene.kubectl.request("DELETE", "\(scene.core)/pods/two")
            #expect(try await scene.kubectl.request("GET", "\(scene.core)/pods/two").code == 404)
        }
    }

    @Test("a namespace that is going away takes nothing new, and goes with the last of its objects")
    func namespaces() async throws {
        try await Scene.runStandIn { scene, server in
            try server.ensureNamespace("leaving")
            try server.addPod(APIServer.pod("leaving", "one", node: "node-1", ip: "10.0.0.1"))
            _ = try await scene.kubectl.request("DELETE", "/api/v1/namespaces/leaving")
            let leaving = try await scene.kubectl.request("GET", "/api/v1/namespaces/leaving")
            #expect(leaving.json["status"]["phase"] == "Terminating")
            let late = try await scene.kubectl.request(
                "POST", "/api/v1/namespaces/leaving/configmaps",
                body: ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "late"]])
            #expect(late.code == 403 && late.json["details"]["causes"][0]["reason"] == "NamespaceTerminating")
            #expect(server.get(.pods, "leaving", "one")?["metadata"]["deletionTimestamp"] != .null)
            try server.confirmPodDeletion("leaving", "one")
            #expect(server.get(.namespaces, "", "leaving") == nil)
        }
    }
}
