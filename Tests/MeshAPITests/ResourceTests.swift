import FoundationEssentials
import IPAddressing
import MeshState
import SPIFFE
import SeededRandom
import SwiftProtobuf
import Testing

@testable import MeshAPI

/// What is wrong with a message, and the field that the refusal is to name.
struct Flaw<Resource>: Sendable, CustomTestStringConvertible {
    let field: String
    let apply: @Sendable (inout Resource) -> Void

    init(_ field: String, _ apply: @escaping @Sendable (inout Resource) -> Void) {
        self.field = field
        self.apply = apply
    }

    var testDescription: String { field }
}

@Suite("Workloads and services from the wire")
struct ResourceTests {
    @Test("a workload survives the way through the wire")
    func workload() throws {
        var original = try web()
        original.addresses.append(try #require(IPAddress("fd00:10:244:1::2")))
        original.capacity = 7
        original.status = .unhealthy
        original.usesHostNetwork = true
        original.refusesPlaintext = true
        original.workloadName = "web"
        original.services[ServiceName(namespace: "shop", hostname: "all.shop")] = [:]
        let message = Istio_Workload_Workload(original)
        #expect(try Workload(message, trustDomain: TrustDomain("other")) == original)
        #expect(Istio_Workload_Workload(try Workload(message, trustDomain: demo)) == message)
    }

    @Test("a service survives the way through the wire")
    func service() throws {
        var original = try webService()
        original.addresses.append(try #require(IPAddress("fd00:10:96::a")))
        original.ports[443] = 0
        original.subjectAltNames = [try SPIFFEID("spiffe://culvert.demo/ns/shop/sa/gateway")]
        original.loadBalancing = .passthrough
        #expect(try Service(Istio_Workload_Service(original)) == original)
    }

    @Test("what a workload leaves out gets the mesh's defaults")
    func defaults() throws {
        let message = Istio_Workload_Workload.with {
            $0.uid = "u"
            $0.namespace = "shop"
        }
        let workload = try Workload(message, trustDomain: demo)
        #expect(workload.identity.description == "spiffe://culvert.demo/ns/shop/sa/default")
        #expect(workload.tunnelProtocol == .none)
        #expect(workload.capacity == 1)
    }

    @Test(
        "a workload with one flaw is refused, by its name and the field's",
        arguments: [
            Flaw("uid") { $0.uid = "" },
            Flaw("uid") { $0.uid = String(repeating: "u", count: 1025) },
            Flaw("uid") { $0.uid = "a b" },
            Flaw("uid") { $0.uid = "pod-ä" },
            Flaw("name") { $0.name = String(repeating: "n", count: 254) },
            Flaw("namespace") { $0.namespace = "" },
            Flaw("service_account") { $0.serviceAccount = "a\nb" },
            Flaw("") { $0.serviceAccount = "a/b" },
            Flaw("") { $0.trustDomain = "UPPER" },
            Flaw("node") { $0.node = String(repeating: "n", count: 254) },
            Flaw("addresses[0]") { $0.addresses = [Data([1, 2, 3])] },
            Flaw("addresses[1]") { $0.addresses = [Data([1, 2, 3, 4]), Data()] },
            Flaw("addresses[0]") { $0.addresses = [Data([0, 0, 0, 0])] },
            Flaw("addresses") { $0.addresses = (0...64).map { Data([10, 0, 0, UInt8($0)]) } },
            Flaw("network") { $0.network = "remote" },
            Flaw("tunnel_protocol") { $0.tunnelProtocol = .legacyIstioMtls },
            Flaw("tunnel_protocol") { $0.tunnelProtocol = .UNRECOGNIZED(9) },
            Flaw("waypoint") { $0.waypoint.hboneMtlsPort = 15008 },
            Flaw("network_gateway") { $0.networkGateway.hboneMtlsPort = 15008 },
            Flaw("application_tunnel") { $0.applicationTunnel.protocol = .proxy },
            Flaw("authorization_policies") { $0.authorizationPolicies = ["shop/deny"] },
            Flaw("authorization_policies") {
                $0.authorizationPolicies = ["istio-system/istio_converted_static_strict", "shop/deny"]
            },
            Flaw("authorization_policies") { $0.authorizationPolicies = ["istio_converted_static_strict"] },
            Flaw("services") { $0.services = ["web": .init()] },
            Flaw("services") { $0.services = ["a/b/c": .init()] },
            Flaw("services[a/b].ports") { $0.services = ["a/b": .with { $0.ports = [.with { $0.targetPort = 1 }] }] },
            Flaw("services[a/b].ports") {
                $0.services = ["a/b": .with { $0.ports = [.with { $0.servicePort = 65536 }] }]
            },
        ] as [Flaw<Istio_Workload_Workload>])
    func flaws(flaw: Flaw<Istio_Workload_Workload>) throws {
        var message = Istio_Workload_Workload(try web())
        flaw.apply(&message)
        let error = #expect(throws: ResourceError.self) { try Workload(message, trustDomain: demo) }
        #expect(error?.field == flaw.field)
        #expect(error.map { $0.resource.utf8.count <= 256 } == true)
    }

    @Test(
        "a service with one flaw is refused, by its name and the field's",
        arguments: [
            Flaw("") { $0.hostname = "" },
            Flaw("") { $0.namespace = "a/b" },
            Flaw("hostname") { $0.hostname = String(repeating: "h", count: 254) },
            Flaw("addresses[0]") { $0.addresses[0].network = "remote" },
            Flaw("addresses[0]") { $0.addresses[0].length = 24 },
            Flaw("addresses[0]") { $0.addresses[0].address = Data([1]) },
            Flaw("ports") { $0.ports[0].servicePort = 0 },
            Flaw("ports") { $0.ports[0].targetPort = 70000 },
            Flaw("subject_alt_names[0]") { $0.subjectAltNames = ["web.example"] },
            Flaw("waypoint") { $0.waypoint.hboneMtlsPort = 15008 },
            Flaw("load_balancing") { $0.loadBalancing.mode = .strict },
        ] as [Flaw<Istio_Workload_Service>])
    func serviceFlaws(flaw: Flaw<Istio_Workload_Service>) throws {
        var message = Istio_Workload_Service(try webService())
        flaw.apply(&message)
        let error = #expect(throws: ResourceError.self) { try Service(message) }
        #expect(error?.field == flaw.field)
    }

    @Test("a single address may say its full length")
    func fullLength() throws {
        var message = Istio_Workload_Service(try webService())
        message.addresses[0].length = 32
        #expect(try Service(message) == (try webService()))
    }

    @Test("random and damaged resources are refused or understood, never more")
    func random() throws {
        var generator = SeededGenerator(seed: 2)
        let good = [WireTests.workload, WireTests.service]
        for round in 0..<20_000 {
            var body = round % 2 == 0 ? generator.bytes(upTo: 80) : good[round / 2 % 2]
            if round % 2 == 1 {
                body[Int.random(in: body.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            guard let address = try? Istio_Workload_Address(serializedBytes: body) else { continue }
            switch address.type {
            case .workload(let message): _ = try? Workload(message, trustDomain: demo)
            case .service(let message): _ = try? Service(message)
            case nil: break
            }
        }
    }

    @Test("versions are equal for equal content, and differ with it")
    func versions() throws {
        #expect(DiscoveryResource(try web()) == DiscoveryResource(try web()))
        #expect(DiscoveryResource(try web()).version != DiscoveryResource(try web(address: "10.244.1.3")).version)
    }
}
