import IPAddressing
import KubernetesAPI
import MeshState
import Testing

@testable import NodeAgent

@Suite("Services of a Kubernetes cluster")
struct KubernetesServiceTests {
    private func scene() throws -> KubernetesScene {
        var scene = try KubernetesScene()
        scene.pod("a", "10.0.0.1", "fd00::1")
        scene.pod("b", "10.0.0.2")
        return scene
    }

    @Test("a service has its virtual addresses, its TCP ports, and its endpoints")
    func service() throws {
        var scene = try scene()
        scene.service(
            "web", ["10.96.0.1", "fd00:96::1"],
            ports: [
                ServicePort(name: "http", port: 80, targetPort: .number(8080)),
                ServicePort(name: "same", port: 9090),
                ServicePort(name: "dns", port: 53, targetPort: .number(53), transport: "UDP"),
            ])
        scene.slice(
            "web-4", of: "web",
            ports: [EndpointPort(name: "http", port: 8080), EndpointPort(name: "same", port: 9090)],
            endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b"))
        scene.slice(
            "web-6", of: "web", type: "IPv6",
            ports: [EndpointPort(name: "http", port: 8080), EndpointPort(name: "same", port: 9090)],
            endpoint("fd00::1", "a"))
        scene.settle()
        let service = try #require(scene.service("web"))
        #expect(service.addresses.map(\.description) == ["10.96.0.1", "fd00:96::1"])
        #expect(service.ports == [80: 8080, 9090: 9090])
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080", "10.0.0.2:8080"])
        // Nothing is repeated for each pod.
        #expect(scene.workload("a")?.services == [scene.serviceName("web"): [:]])
        #expect(scene.guarded == ["10.0.0.1", "fd00::1", "10.0.0.2", "10.96.0.1", "fd00:96::1"])
    }

    @Test("a headless service has no address, and its pods are reached by their own")
    func headless() throws {
        var scene = try scene()
        scene.service("db", ["None"])
        scene.slice("db-1", of: "db", endpoint("10.0.0.1", "a"))
        scene.settle()
        #expect(scene.service("db")?.addresses == [])
        let update = MeshUpdate(
            upsertedWorkloads: scene.mesh.workloads.values.compactMap(\.self),
            upsertedServices: scene.mesh.services.values.compactMap(\.self))
        let source = try #require(scene.workload("b"))
        let route = MeshSnapshot().applying(update).route(
            from: source, to: try #require(SocketAddress("10.0.0.1:5432")), random: 0)
        guard case .tunnel(let tunnel) = route else {
            Issue.record("not through a tunnel")
            return
        }
        #expect(tunnel.authority.description == "10.0.0.1:5432")
    }

    @Test("a port that has a name only is each pod's own")
    func namedPorts() throws {
        var scene = try scene()
        scene.service(
            "web", ["10.96.0.1"],
            ports: [
                ServicePort(name: "http", port: 80, targetPort: .name("http")),
                ServicePort(name: "admin", port: 81, targetPort: .name("admin")),
            ])
        // One slice for each set of ports, as the controller makes them.
        scene.slice(
            "web-1", of: "web",
            ports: [EndpointPort(name: "http", port: 8080), EndpointPort(name: "admin", port: 9000)],
            endpoint("10.0.0.1", "a"))
        scene.slice("web-2", of: "web", ports: [EndpointPort(name: "http", port: 3000)], endpoint("10.0.0.2", "b"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080", "10.0.0.2:3000"])
        #expect(scene.endpoints(of: "web", port: 81) == ["10.0.0.1:9000"])
    }

    @Test(
        "conditions of an endpoint",
        arguments: [
            ("none said", nil, nil, nil, true), ("ready", true, nil, nil, true), ("not ready", false, nil, nil, false),
            ("serving, not ready", false, true, nil, false), ("ending", false, true, true, false),
            ("ready though ending (publishNotReadyAddresses)", true, true, true, true),
        ] as [(String, Bool?, Bool?, Bool?, Bool)])
    func conditions(what: String, ready: Bool?, serving: Bool?, terminating: Bool?, isUsed: Bool) throws {
        var scene = try scene()
        scene.service("web", ["10.96.0.1"])
        scene.slice(
            "web-1", of: "web", endpoint("10.0.0.1", "a", ready: ready, serving: serving, terminating: terminating),
            endpoint("10.0.0.2", "b"))
        scene.settle()
        #expect(scene.endpoints(of: "web").contains("10.0.0.1:8080") == isUsed, "\(what)")
        // It stays in the mesh whether or not services lead to it.
        #expect(scene.workload("a")?.tunnelProtocol == .hbone)
    }

    @Test("endpoints that end are used while no other one is ready, in whichever slice")
    func draining() throws {
        var scene = try scene()
        scene.service("web", ["10.96.0.1"])
        let ending = endpoint("10.0.0.1", "a", ready: false, serving: true, terminating: true)
        scene.slice("web-1", of: "web", ending)
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080"])
        scene.slice("web-2", of: "web", endpoint("10.0.0.2", "b"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.2:8080"])
        scene.slice("web-2", of: "web", endpoint("10.0.0.2", "b", ready: false, serving: false, terminating: true))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080"])
    }

    @Test("an endpoint that means a former pod of the same name is not the new one")
    func formerPod() throws {
        var scene = try scene()
        scene.service("web", ["10.96.0.1"])
        scene.slice("web-1", of: "web", endpoint("10.0.0.1", "a", uid: "former"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == [])
        scene.slice("web-1", of: "web", endpoint("10.0.0.1", "a"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080"])
    }

    @Test("slices may come before their service, and before their pods")
    func order() throws {
        var scene = try KubernetesScene()
        scene.slice("web-1", of: "web", endpoint("10.0.0.1", "a"))
        scene.settle()
        scene.service("web", ["10.96.0.1"])
        scene.settle()
        #expect(scene.guarded == [])
        scene.pod("a", "10.0.0.1")
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080"])
        #expect(scene.guarded == ["10.0.0.1", "10.96.0.1"])
        scene.cluster.removeService(ObjectKey(namespace: "shop", name: "web"))
        scene.settle()
        #expect(scene.workload("a")?.services == [:])
        #expect(scene.guarded == ["10.0.0.1"])
    }

    @Test("a service's virtual address is guarded while an enrolled pod is behind it")
    func guardedAddress() throws {
        var scene = try KubernetesScene()
        scene.pod("a", "10.0.0.1", labels: [KubernetesScene.label: "false"])
        scene.service("web", ["10.96.0.1"])
        scene.slice("web-1", of: "web", endpoint("10.0.0.1", "a"))
        scene.settle()
        #expect(scene.guarded == [])
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:8080"])
        scene.pod("a", "10.0.0.1")
        scene.settle()
        #expect(scene.guarded == ["10.0.0.1", "10.96.0.1"])
        scene.remove(pod: "a")
        scene.settle()
        #expect(scene.guarded == [])
    }

    @Test("a host-network pod is an endpoint, at its node's address and in plain TCP; other pods there are not it")
    func hostNetwork() throws {
        var scene = try KubernetesScene()
        scene.pod("a", "192.168.0.1", isHostNetwork: true)
        scene.pod("b", "192.168.0.1", isHostNetwork: true)
        scene.service("web", ["10.96.0.1"])
        scene.slice("web-1", of: "web", endpoint("192.168.0.1", "a"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["192.168.0.1:8080"])
        #expect(scene.workload("b")?.services == [:])
        #expect(scene.guarded == [])
    }

    @Test("endpoints that are no pods are plain TCP, and known to their service only")
    func strangers() throws {
        var scene = try scene()
        scene.service("legacy", ["10.96.0.1"], selector: [:])
        scene.slice(
            "legacy-1", of: "legacy", ports: [EndpointPort(port: 5432)], endpoint("192.0.2.1"), endpoint("192.0.2.2"))
        scene.settle()
        #expect(scene.endpoints(of: "legacy") == ["192.0.2.1:5432", "192.0.2.2:5432"])
        let strangers = scene.mesh.workloads.values.compactMap(\.self).filter {
            $0.addresses[0].description.hasPrefix("192")
        }
        #expect(strangers.allSatisfy { $0.tunnelProtocol == .none && $0.usesHostNetwork })
        scene.slice("legacy-1", of: "legacy", ports: [EndpointPort(port: 5432)], endpoint("192.0.2.2"))
        scene.settle()
        #expect(scene.endpoints(of: "legacy") == ["192.0.2.2:5432"])
        scene.cluster.removeEndpointSlice(ObjectKey(namespace: "shop", name: "legacy-1"))
        scene.settle()
        #expect(scene.workloads == ["a", "b"])
    }

    @Test("an address in a hand-made slice that is a pod's leads to the pod, through its tunnel")
    func podsByAddress() throws {
        var scene = try KubernetesScene()
        scene.service("alias", ["10.96.0.1"], selector: [:])
        scene.slice("alias-1", of: "alias", endpoint("10.0.0.1"))
        scene.settle()
        #expect(scene.endpoints(of: "alias") == ["10.0.0.1:8080"])
        scene.pod("a", "10.0.0.1")
        scene.settle()
        #expect(scene.workloads == ["a"])
        #expect(scene.endpoints(of: "alias") == ["10.0.0.1:8080"])
        #expect(scene.guarded == ["10.0.0.1", "10.96.0.1"])
        scene.remove(pod: "a")
        scene.settle()
        #expect(scene.workloads == ["discovery.k8s.io/EndpointSlice/shop/alias-1/10.0.0.1"])
    }

    @Test("a slice without a number for its port stands for every port")
    func everyPort() throws {
        var scene = try scene()
        scene.service("web", ["10.96.0.1"], selector: [:])
        scene.slice("web-1", of: "web", ports: [EndpointPort(port: nil)], endpoint("10.0.0.1", "a"))
        scene.settle()
        #expect(scene.endpoints(of: "web") == ["10.0.0.1:80"])
    }

    @Test("external names, ports of other protocols and slices of names are not the mesh's")
    func ignored() throws {
        var scene = try scene()
        scene.service("cname", [], type: .externalName)
        scene.service("dns", ["10.96.0.10"], ports: [ServicePort(port: 53, transport: "UDP")])
        scene.slice("dns-1", of: "dns", ports: [EndpointPort(port: 53, transport: "UDP")], endpoint("10.0.0.1", "a"))
        scene.service("web", ["10.96.0.1"])
        scene.slice("web-1", of: "web", type: "FQDN", endpoint("example.com"))
        scene.slice("web-2", of: "web", ports: [EndpointPort(port: 80, transport: "SCTP")], endpoint("10.0.0.1", "a"))
        scene.settle()
        #expect(Set(scene.mesh.services.keys.map(\.hostname)) == ["web.shop.svc.cluster.local"])
        #expect(scene.workload("a")?.services == [:])
    }

    @Test("services of other namespaces stay kube-proxy's")
    func otherNamespaces() throws {
        var scene = try KubernetesScene()
        scene.pod("x", "10.0.0.9", namespace: "open")
        scene.service("web", ["10.96.0.9"], namespace: "open")
        scene.slice("web-1", of: "web", namespace: "open", endpoint("10.0.0.9", "x"))
        let change = scene.settle()
        #expect(change.mesh.services.isEmpty)
        #expect(change.mesh.workloads.isEmpty)
    }

    @Test("one of a service's pods changing is told, and nothing else")
    func proportional() throws {
        var scene = try KubernetesScene()
        scene.service("web", ["10.96.0.1"])
        for number in 1...50 { scene.pod("p\(number)", "10.0.0.\(number)") }
        func slice(without missing: Int?) {
            var slice = EndpointSlice(
                metadata: ObjectMeta(
                    name: "web-1", namespace: "shop", labels: [EndpointSlice.serviceNameLabel: "web"]),
                ports: [EndpointPort(port: 8080)])
            slice.endpoints = (1...50).map { (number: Int) in
                endpoint("10.0.0.\(number)", "p\(number)", ready: number != missing)
            }
            scene.cluster.update(slice)
        }
        slice(without: nil)
        scene.settle()
        slice(without: 7)
        let change = scene.settle()
        #expect(Array(change.mesh.workloads.keys) == ["p7"])
        #expect(change.guarded.isEmpty && change.pods == nil)
    }
}
