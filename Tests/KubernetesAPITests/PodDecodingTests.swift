import KubernetesAPI
import Testing

@Suite("Pods as the API server writes them")
struct PodDecodingTests {
    @Test("keeps what we read and steps over the rest")
    func decodes() throws {
        let pod = try Pod(json: Self.document)
        #expect(pod.key == ObjectKey(namespace: "shop", name: "web-0"))
        #expect(pod.metadata.uid == "5f0c")
        #expect(pod.metadata.resourceVersion == "4711")
        #expect(pod.metadata.labels == ["app": "web", "k": ""])
        #expect(pod.metadata.annotations == ["kept": "é\n\u{1F600}"])
        #expect(pod.metadata.deletionTimestamp == nil)
        #expect(pod.spec.nodeName == "node-1")
        #expect(pod.spec.serviceAccountName == "web")
        #expect(pod.spec.port(.name("http")) == 8080)
        #expect(pod.spec.port(.name("dns")) == nil)
        #expect(pod.spec.port(.name("dns"), transport: "UDP") == 53)
        #expect(pod.spec.port(.name("side")) == 9000)
        #expect(pod.spec.port(.name("once")) == nil)
        #expect(pod.spec.port(.number(12)) == 12)
        #expect(pod.spec.readinessGates == ["culvert.dev/ready"])
        #expect(pod.status.phase == .running)
        #expect(pod.status.podIPs == ["10.1.2.3", "fd00::3"])
        #expect(pod.status.isReady)
        #expect(pod.status.containerStatuses.map(\.containerID) == ["containerd://abc", nil])
        #expect(pod.status.containerStatuses.map(\.state) == [.running, .waiting])
    }

    private static let document = #"""
        {"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-0","namespace":"shop","uid":"5f0c",
          "resourceVersion":"4711","deletionTimestamp":null,"labels":{"app":"web","k":""},
          "annotations":{"kept":"\u00e9\n\ud83d\ude00","kubectl.kubernetes.io/last-applied-configuration":"{}"},
          "managedFields":[{"manager":"kubelet","fieldsV1":{"f:status":{"k:{\"type\":\"Ready\"}":{".":{}}}}}]},
         "spec":{"nodeName":"node-1","serviceAccountName":"web","hostNetwork":null,"priority":-0,"x":1.5e-3,
          "initContainers":[{"name":"s","restartPolicy":"Always","ports":[{"name":"side","containerPort":9000}]},
            {"name":"o","ports":[{"name":"once","containerPort":9001}]}],
          "containers":[{"name":"c","image":"i","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"},
            {"name":"dns","containerPort":53,"protocol":"UDP"}],"env":[{"name":"a","value":"\"}"}]}],
          "readinessGates":[{"conditionType":"culvert.dev/ready"}]},
         "status":{"phase":"Running","podIP":"10.1.2.3","podIPs":[{"ip":"10.1.2.3"},{"ip":"fd00::3"}],
          "conditions":[{"type":"Ready","status":"True","lastProbeTime":null}],
          "containerStatuses":[{"name":"c","containerID":"containerd://abc","ready":true,
            "state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}},{"name":"d","state":{"waiting":{}}}]}}
        """#
}
