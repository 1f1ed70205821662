import IPAddressing
import MeshFile
import MeshState
import Redirection
import SPIFFE
import Testing

@testable import NodeAgent

@Suite("Cluster state")
struct ClusterStateTests {
    @Test("enrols by the namespace's label, unless the pod's own says false or it has no namespace to enter")
    func enrolment() throws {
        let label = MeshFile.defaultEnrolmentLabel
        let cases: [(ClusterState.Pod, Bool)] = [
            (try pod("a"), true),
            (try pod("b", namespace: "open"), false),
            (try pod("c", namespace: "unknown"), false),
            (try pod("d", labels: [label: "false"]), false),
            (try pod("e", labels: [label: "true"]), true),
            (try pod("f", labels: [label: "False"]), true),
            (try pod("g", namespace: "open", labels: [label: "true"]), false),
            (try pod("h", netns: .some(nil)), false),
        ]
        for (pod, isEnrolled) in cases {
            #expect(try cluster().isEnrolled(pod) == isEnrolled, "\(pod.uid)")
        }
    }

    @Test("takes only true for true", arguments: ["True", "yes", "1", "", " true"])
    func spelling(_ value: String) throws {
        let state = ClusterState(
            trustDomain: try TrustDomain("td"), enrolmentLabel: "mesh", namespaces: ["shop": ["mesh": value]], pods: [],
            services: [])
        #expect(try !state.isEnrolled(pod("a")))
    }

    @Test("picks this node's pods")
    func node() throws {
        let state = try cluster(pod("here"), pod("there", node: "node-b"), pod("plain", namespace: "open"))
        #expect(state.enrolledPods(of: "node-a").map(\.uid) == ["here"])
        #expect(state.enrolledPods(of: "node-b").map(\.uid) == ["there"])
    }

    @Test("takes pods, namespaces, services and their endpoints from a mesh file")
    func meshFile() throws {
        let file = try MeshFile.parse(
            text: """
                trustDomain: culvert.demo
                enrolmentLabel: mesh
                namespaces:
                  - {name: shop, labels: {mesh: "true"}}
                  - {name: open}
                pods:
                  - {uid: u1, name: web, namespace: shop, node: a, addresses: [10.0.0.1], netns: /run/netns/web}
                  - {uid: u2, name: web, namespace: open, node: a, addresses: [10.0.0.2]}
                services:
                  - {name: web, namespace: shop, addresses: [10.96.0.1], ports: [{port: 80, targetPort: 8080}], pods: [web]}
                """, name: "mesh.yaml")
        let state = ClusterState(file)
        let name = ServiceName(namespace: "shop", hostname: "web.shop.svc.cluster.local")
        #expect(state.enrolledPods(of: "a").map(\.uid) == ["u1"])
        #expect(state.pods.map { Array($0.services.keys) } == [[name], []])
        #expect(state.services.map(\.ports) == [[80: 8080]])

        let mesh = PublishedMesh(state)
        #expect(mesh.omitted.isEmpty)
        #expect(mesh.services == state.services)
        #expect(mesh.workloads.map(\.tunnelProtocol) == [.hbone, .none])
        #expect(mesh.workloads[0].identity.description == "spiffe://culvert.demo/ns/shop/sa/default")
        #expect(mesh.workloads[0].node == "a")
        #expect(mesh.workloads[0].services == [name: [:]])

        // The same values that a proxy routes by.
        let snapshot = MeshSnapshot().applying(
            MeshUpdate(upsertedWorkloads: mesh.workloads, upsertedServices: mesh.services))
        let destination = try #require(SocketAddress("10.96.0.1:80"))
        guard case .tunnel(let tunnel) = snapshot.route(from: mesh.workloads[1], to: destination, random: 0) else {
            Issue.record("the service of an enrolled pod is not reached through a tunnel")
            return
        }
        #expect(tunnel.authority.description == "10.0.0.1:8080")
    }

    @Test("enrolled pods of a strict namespace are published as refusing plaintext")
    func strict() throws {
        let file = try MeshFile.parse(
            text: """
                trustDomain: culvert.demo
                namespaces:
                  - {name: shop, labels: {culvert.dev/mtls-enabled: "true"}, mtlsMode: strict}
                  - {name: bank, labels: {culvert.dev/mtls-enabled: "true"}, mtlsMode: permissive}
                  - {name: open, mtlsMode: strict}
                pods:
                  - {uid: u1, name: a, namespace: shop, node: a, addresses: [10.0.0.1], netns: /run/netns/a}
                  - {uid: u2, name: b, namespace: shop, node: a, addresses: [10.0.0.2]}
                  - {uid: u3, name: c, namespace: bank, node: a, addresses: [10.0.0.3], netns: /run/netns/c}
                  - {uid: u4, name: d, namespace: open, node: a, addresses: [10.0.0.4], netns: /run/netns/d}
                """, name: "mesh.yaml")
        let published = PublishedMesh(ClusterState(file)).workloads.filter(\.refusesPlaintext)
        #expect(published.map(\.uid) == ["u1"])
    }

    @Test("a pod's exclusions are its own and its namespace's")
    func exclusions() throws {
        let file = try MeshFile.parse(
            text: """
                trustDomain: culvert.demo
                namespaces:
                  - {name: shop, excludeInboundPorts: [9100], excludeOutboundCIDRs: [169.254.169.254]}
                pods:
                  - {uid: u1, name: web, namespace: shop, node: a, addresses: [10.0.0.1], excludeOutboundPorts: [25, 465]}
                  - {uid: u2, name: db, namespace: shop, node: a, addresses: [10.0.0.2], excludeInboundPorts: [9187]}
                """, name: "mesh.yaml")
        #expect(
            ClusterState(file).pods.map(\.exclusions.description) == [
                "inbound:9100, outbound:25, outbound:465, outbound:169.254.169.254/32",
                "inbound:9100, inbound:9187, outbound:169.254.169.254/32",
            ])
        // Whatever the file has room for, the kernel's tables have.
        #expect(2 * MeshFile.Exclusions.portsMax <= PodExclusions.portsMax)
        #expect(2 * MeshFile.Exclusions.prefixesMax <= PodExclusions.prefixesMax)
    }

    @Test("publishes enrolled pods of all nodes as HBONE, others in plain, and omits what has no identity")
    func published() throws {
        let mesh = PublishedMesh(
            try cluster(
                pod("here"), pod("there", node: "node-b"), pod("plain", namespace: "open"),
                pod("bad", serviceAccount: "no/such")))
        #expect(mesh.workloads.map(\.uid) == ["here", "there", "plain"])
        #expect(mesh.workloads.map(\.tunnelProtocol) == [.hbone, .hbone, .none])
        #expect(Array(mesh.omitted.keys) == ["bad"])
    }
}
