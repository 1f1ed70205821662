import IPAddressing
import KubernetesAPI
import MeshState
import SeededRandom
import Testing

@testable import NodeAgent

@Suite("Pods of a Kubernetes cluster")
struct KubernetesClusterTests {
    @Test("pods of enrolled namespaces are published, as what they are; others are not")
    func pods() throws {
        var scene = try KubernetesScene(excluded: ["kube-system"])
        scene.namespace("kube-system")
        scene.pod("web", "10.0.0.1", serviceAccount: "web", labels: ["app": "web"])
        scene.pod("far", "10.0.1.1", node: "node-b")
        scene.pod("out", "10.0.0.2", labels: [KubernetesScene.label: "false"])
        scene.pod("in", "10.0.0.3", labels: [KubernetesScene.label: "true"])
        scene.pod("host", "192.168.0.1", isHostNetwork: true)
        scene.pod("other", "10.0.0.4", namespace: "open")
        scene.pod("unknown", "10.0.0.5", namespace: "nowhere", labels: [KubernetesScene.label: "true"])
        scene.pod("system", "10.0.0.6", namespace: "kube-system")
        scene.settle()

        #expect(scene.workloads == ["far", "host", "in", "out", "web"])
        #expect(scene.workload("web")?.identity.description == "spiffe://culvert.demo/ns/shop/sa/web")
        for (uid, isEnrolled) in [("web", true), ("far", true), ("in", true), ("out", false), ("host", false)] {
            #expect(
                scene.workload(uid)?.tunnelProtocol == (isEnrolled ? .hbone : Workload.TunnelProtocol.none), "\(uid)")
        }
        #expect(scene.workload("host")?.usesHostNetwork == true)
        #expect(scene.workload("far")?.node == "node-b")
        #expect(scene.enrolled == ["in", "web"])
        #expect(scene.guarded == ["10.0.0.1", "10.0.0.3", "10.0.1.1"])
    }

    @Test("a pod without an address, or one that has ended, is not there", arguments: PodStatus.Phase.allOfThem)
    func phases(phase: PodStatus.Phase, isThere: Bool) throws {
        var scene = try KubernetesScene()
        scene.pod("web", "10.0.0.1", phase: phase)
        scene.pod("early", phase: phase)
        scene.settle()
        #expect(scene.workloads == (isThere ? ["web"] : []))
        #expect(scene.enrolled == (isThere ? ["web"] : []))
    }

    @Test("a pod that ends, is deleted or replaced under its name takes its address along")
    func endings() throws {
        var scene = try KubernetesScene()
        scene.pod("a", "10.0.0.1")
        scene.pod("b", "10.0.0.2")
        scene.pod("c", "10.0.0.3", uid: "c1")
        scene.settle()
        scene.pod("a", "10.0.0.1", phase: .succeeded)
        scene.remove(pod: "b")
        scene.pod("c", "10.0.0.4", uid: "c2")
        let change = scene.settle()
        #expect(scene.workloads == ["c2"])
        #expect(Set(change.mesh.workloads.keys) == ["a", "b", "c1", "c2"])
        #expect(scene.guarded == ["10.0.0.4"])
        #expect(scene.enrolled == ["c2"])
    }

    @Test(
        "an address that a newer pod was given is the newer one's, in whatever order they are told",
        arguments: [true, false])
    func reuse(isOldFirst: Bool) throws {
        var scene = try KubernetesScene()
        func old() { scene.pod("old", "10.0.0.1", "fd00::1", node: "node-b", created: "2026-01-01T00:00:00Z") }
        func new() { scene.pod("new", "10.0.0.1", namespace: "open", created: "2026-01-01T00:00:01Z") }
        for tell in isOldFirst ? [old, new] : [new, old] {
            tell()
            scene.settle()
        }
        // Nobody may take what is sent to the new pod, which is not enrolled, for the enrolled one's.
        #expect(scene.workload("old")?.addresses.map(\.description) == ["fd00::1"])
        #expect(scene.guarded == ["fd00::1"])
        scene.remove(pod: "new", namespace: "open")
        scene.settle()
        #expect(scene.workload("old")?.addresses.map(\.description) == ["10.0.0.1", "fd00::1"])
        #expect(scene.guarded == ["10.0.0.1", "fd00::1"])
    }

    @Test("labelling a namespace enrols the pods that are there, and taking the label off lets them go")
    func labels() throws {
        var scene = try KubernetesScene()
        scene.pod("web", "10.0.0.1", namespace: "open")
        scene.service("web", ["10.96.0.1"], namespace: "open")
        scene.slice("web-1", of: "web", namespace: "open", endpoint("10.0.0.1", "web"))
        scene.settle()
        #expect(scene.workloads == [])
        scene.namespace("open")
        scene.settle()
        #expect(scene.enrolled == ["web"])
        #expect(scene.guarded == ["10.0.0.1", "10.96.0.1"])
        #expect(scene.endpoints(of: "web", "open") == ["10.0.0.1:8080"])
        scene.namespace("open", enrolment: "True")
        scene.settle()
        #expect(scene.enrolled == [])
        #expect(scene.guarded == [])
        #expect(scene.workloads == [])
        #expect(scene.service("web", "open") == nil)
        scene.cluster.removeNamespace("open")
        #expect(scene.settle().isEmpty)
    }

    @Test(
        "strict namespaces; what is not understood is strict, and said",
        arguments: [
            (nil, false, false), ("permissive", false, false), ("strict", true, false), ("STRICT", true, true),
        ] as [(String?, Bool, Bool)])
    func modes(mode: String?, isStrict: Bool, isReported: Bool) throws {
        var scene = try KubernetesScene()
        scene.pod("web", "10.0.0.1")
        scene.pod("out", "10.0.0.2", labels: [KubernetesScene.label: "false"])
        scene.namespace("shop", mode: mode)
        let change = scene.settle()
        #expect(scene.workload("web")?.refusesPlaintext == isStrict)
        #expect(scene.workload("out")?.refusesPlaintext == false)
        #expect(change.pods?.map(\.isStrict) == [isStrict])
        #expect((scene.warnings["namespace shop"] != nil) == isReported)
    }

    @Test("exclusions are the pod's and its namespace's; a list that is not understood excludes nothing")
    func exclusions() throws {
        var scene = try KubernetesScene()
        scene.namespace("shop", annotations: ["culvert.dev/exclude-inbound-ports": "9100"])
        scene.pod(
            "a", "10.0.0.1",
            annotations: [
                "culvert.dev/exclude-outbound-ports": "25, 465",
                "culvert.dev/exclude-outbound-cidrs": "169.254.169.254",
            ])
        scene.pod("b", "10.0.0.2", annotations: ["culvert.dev/exclude-outbound-ports": "25,http"])
        scene.pod("c", "10.0.0.3", annotations: ["culvert.dev/exclude-inbound-ports": "15008"])
        scene.pod("d", "10.0.0.4", annotations: ["culvert.dev/exclude-outbound-cidrs": "0.0.0.0/0"])
        let pods = try #require(scene.settle().pods)
        #expect(
            pods.map(\.exclusions.description) == [
                "inbound:9100, outbound:25, outbound:465, outbound:169.254.169.254/32", "inbound:9100", "inbound:9100",
                "inbound:9100",
            ])
        #expect(Set(scene.warnings.keys) == ["pod shop/b", "pod shop/c", "pod shop/d"])
    }

    @Test("what makes no SPIFFE ID, and what is no UID, is left out and said; the others are there")
    func omissions() throws {
        var scene = try KubernetesScene()
        scene.pod("web", "10.0.0.1")
        scene.pod("bad", "10.0.0.2", serviceAccount: "no/such")
        scene.pod("path", "10.0.0.3", uid: "../etc")
        scene.settle()
        #expect(scene.workloads == ["web"])
        #expect(Set(scene.omitted.keys) == ["bad", "../etc"])
        #expect(!scene.enrolled.contains("../etc"))
    }

    @Test("the controller is the Deployment, not its ReplicaSet")
    func controllers() throws {
        var scene = try KubernetesScene()
        func owner(_ kind: String, _ name: String) -> OwnerReference {
            OwnerReference(apiVersion: "apps/v1", kind: kind, name: name, uid: "x", isController: true)
        }
        scene.pod("a", "10.0.0.1", labels: ["pod-template-hash": "5d4f8"], owner: owner("ReplicaSet", "web-5d4f8"))
        scene.pod("b", "10.0.0.2", owner: owner("StatefulSet", "db"))
        scene.pod("c", "10.0.0.3", labels: ["pod-template-hash": "zz"], owner: owner("ReplicaSet", "web-5d4f8"))
        scene.settle()
        #expect(["a", "b", "c"].map { scene.workload($0)?.workloadName } == ["web", "db", "web-5d4f8"])
    }

    @Test("a change that concerns nobody is none")
    func irrelevant() throws {
        var scene = try KubernetesScene()
        scene.pod("web", "10.0.0.1")
        scene.settle()
        #expect(scene.cluster.isUnchanged)
        scene.pod("web", "10.0.0.1", labels: ["app": "other"])
        scene.pod("other", "10.0.0.9", namespace: "open")
        #expect(scene.settle().isEmpty)
        scene.pod("far", "10.0.1.1", node: "node-b")
        #expect(scene.settle().pods == nil)
    }

    @Test("the mesh's ranges are the nodes' and those that services show")
    func ranges() throws {
        var scene = try KubernetesScene()
        func node(_ name: String, _ ranges: String...) {
            scene.cluster.update(Node(metadata: ObjectMeta(name: name), podCIDRs: ranges))
        }
        node("node-a", "10.244.0.0/24", "fd00:10:244::/64")
        node("node-b", "10.244.1.0/24")
        scene.service("web", ["10.96.0.10", "fd00:10:96::a"])
        func ranges() -> [String]? { scene.settle().mesh.ranges?.map(\.description).sorted() }
        #expect(
            ranges() == ["10.244.0.0/24", "10.244.1.0/24", "10.96.0.0/16", "fd00:10:244::/64", "fd00:10:96::/112"])
        #expect(ranges() == nil)
        scene.service("db", ["10.104.3.4"])
        #expect(ranges()?.contains("10.96.0.0/12") == true)
        scene.cluster.removeNode("node-b")
        #expect(ranges()?.contains("10.244.1.0/24") == false)
        // Nothing that could be half the internet.
        scene.service("odd", ["192.0.2.1"])
        #expect(ranges() == nil)
    }

    /// Whatever the order in which things happen, what was told adds up to what a newcomer is told at once.
    @Test("changes add up to the whole", arguments: 1...10)
    func addsUp(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var scene = try KubernetesScene()
        for _ in 0..<400 {
            scene.happening(&generator)
            if Bool.random(using: &generator) { scene.settle() }
        }
        scene.settle()
        var newcomer = try KubernetesScene()
        newcomer.copyObjects(from: scene)
        newcomer.settle()
        #expect(scene.workloads == newcomer.workloads)
        for uid in newcomer.workloads { #expect(scene.workload(uid) == newcomer.workload(uid), "\(uid)") }
        for name in ["a", "b"] {
            #expect(scene.service(name) == newcomer.service(name))
            #expect(scene.service(name, "open") == newcomer.service(name, "open"))
        }
        #expect(scene.guarded == newcomer.guarded)
        #expect(scene.enrolled.sorted() == newcomer.enrolled.sorted())
    }
}

extension PodStatus.Phase {
    static let allOfThem: [(PodStatus.Phase, Bool)] = [
        (.pending, true), (.running, true), (.unknown, true), (.succeeded, false), (.failed, false),
    ]
}

extension KubernetesScene {
    /// Something, in few names so that it often concerns what happened before.
    mutating func happening(_ generator: inout SeededGenerator) {
        func number(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &generator) }
        let namespace = ["shop", "open"][number(2)]
        let name = "p\(number(6))"
        switch number(10) {
        case 0: self.namespace(namespace, enrolment: ["true", nil][number(2)])
        case 1: remove(pod: name, namespace: namespace)
        case 2...4:
            pod(
                name, "10.0.0.\(number(8) + 1)", namespace: namespace, uid: "\(namespace)-\(name)-\(number(2))",
                node: ["node-a", "node-b"][number(2)], phase: number(8) == 0 ? .failed : .running,
                isHostNetwork: number(8) == 0, created: "2026-01-01T00:00:0\(number(10))Z")
        case 5:
            service(
                ["a", "b"][number(2)], ["10.96.0.\(number(3))"], namespace: namespace,
                ports: [ServicePort(port: 80, targetPort: number(2) == 0 ? .number(8080) : .name("http"))])
        case 6: cluster.removeService(ObjectKey(namespace: namespace, name: ["a", "b"][number(2)]))
        case 7: cluster.removeEndpointSlice(ObjectKey(namespace: namespace, name: "s\(number(4))"))
        default:
            let endpoints = (0..<number(4)).map { _ in
                let isReady = number(2) == 0
                let pod = "p\(number(6))"
                return endpoint(
                    "10.0.0.\(number(8) + 1)", number(3) == 0 ? nil : pod, uid: "\(namespace)-\(pod)-\(number(2))",
                    ready: isReady, serving: !isReady, terminating: !isReady)
            }
            cluster.update(
                EndpointSlice(
                    metadata: ObjectMeta(
                        name: "s\(number(4))", namespace: namespace,
                        labels: [EndpointSlice.serviceNameLabel: ["a", "b"][number(2)]]),
                    endpoints: endpoints, ports: [EndpointPort(port: 8080 + number(2))]))
        }
    }

    /// What the other one knows of objects, told in another order.
    mutating func copyObjects(from other: KubernetesScene) {
        cluster = KubernetesCluster(other.cluster.configuration)
        cluster.copyObjects(from: other.cluster)
    }
}

extension KubernetesCluster {
    mutating func copyObjects(from other: KubernetesCluster) {
        for (key, facts) in other.slices.flatMap({ namespace, named in
            named.map { (ObjectKey(namespace: namespace, name: $0), $1) }
        }) {
            set(facts, ofSlice: key)
        }
        for (key, facts) in other.services.flatMap({ namespace, named in
            named.map { (ObjectKey(namespace: namespace, name: $0), $1) }
        }) {
            set(facts, ofService: key)
        }
        for (key, facts) in other.pods.flatMap({ namespace, named in
            named.map { (ObjectKey(namespace: namespace, name: $0), $1) }
        }) {
            set(facts, ofPod: key)
        }
        for (name, facts) in other.namespaces { set(facts, ofNamespace: name) }
    }
}
