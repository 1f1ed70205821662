import IPAddressing
import Testing

@testable import culvert

@Suite("The demo's topology")
struct DemoTopologyTests {
    let topology = DemoTopology()

    @Test("has pairs across nodes, within a node, and across the mesh's border both ways")
    func pairs() {
        let pairs = topology.pairs
        #expect(pairs.contains { $0.isProtected && $0.from.node != $0.to.node })
        #expect(pairs.contains { $0.isProtected && $0.from.node == $0.to.node })
        #expect(pairs.contains { $0.from.isEnrolled && !$0.to.isEnrolled })
        #expect(pairs.contains { !$0.from.isEnrolled && $0.to.isEnrolled })
        #expect(topology.pods.filter(\.isEnrolled).count == 3)
        #expect(topology.pods.count == 4)
    }

    @Test("joins two pods by one pair only, so that the taps' counts are that pair's")
    func pairsAreDistinct() {
        let joined = topology.pairs.map { Set([$0.from.name, $0.to.name]) }
        #expect(Set(joined).count == joined.count)
    }

    @Test("gives every pod addresses of its node's range, and nobody an address twice")
    func addresses() {
        for pod in topology.pods {
            let prefixes = topology.node(of: pod).podPrefixes
            for address in pod.address.both { #expect(prefixes.contains { $0.contains(address) }, "\(address)") }
        }
        let all =
            topology.authority.both + topology.nodes.flatMap { $0.address.both + $0.podGateway.both }
            + topology.pods.flatMap { $0.address.both + ($0.service?.addresses.both ?? []) }
        #expect(Set(all).count == all.count)
    }

    @Test("keeps names short enough for interfaces, and recognisable")
    func names() {
        #expect(topology.networkNamespaces.allSatisfy { $0.hasPrefix("culvert-demo-") })
        #expect(Set(topology.networkNamespaces).count == topology.networkNamespaces.count)
        #expect(topology.pods.allSatisfy { "pod-\($0.name)".utf8.count <= 15 })
    }

    @Test("lists every pod, service and namespace in the mesh file")
    func meshFile() {
        let text = topology.meshFile(netnsDirectory: "/run/netns")
        let expected = """
            # Written by `culvert demo`.
            trustDomain: culvert.demo
            namespaces:
              - name: shop
                labels: {culvert.dev/mtls-enabled: "true"}
              - name: legacy
            pods:
              - uid: demo-shop-client
                name: client
                namespace: shop
                serviceAccount: client
                node: node-a
                addresses: ["10.244.1.2", "fd00:10:244:1::2"]
                netns: /run/netns/culvert-demo-pod-client

            """
        #expect(text.hasPrefix(expected))
        #expect(text.contains("netns: /run/netns/culvert-demo-pod-outsider\n"))
        let service = """
              - name: store
                namespace: shop
                addresses: ["10.96.0.20", "fd00:10:96::20"]
                ports: [{port: 7, targetPort: 7007}, {port: 9000, targetPort: 9000}]
                pods: [store]

            """
        #expect(text.hasSuffix(service))
    }
}
