import FoundationEssentials
import MeshState
import SwiftProtobuf
import Testing

@testable import MeshAPI

@Suite("What a discovery client takes")
struct DeltaClientStateTests {
    private typealias Delta = Envoy_Service_Discovery_V3_DeltaDiscoveryResponse

    private func response(
        _ resources: DiscoveryResource..., removed: [String] = [], nonce: String = "1"
    ) -> Delta {
        .with {
            $0.typeURL = ResourceType.address
            $0.nonce = nonce
            $0.resources = resources.map(\.message)
            $0.removedResources = removed
        }
    }

    private var noPolicies: Delta { .with { $0.typeURL = ResourceType.authorization } }

    private func client() -> DeltaClientState { DeltaClientState(node: "node-a", trustDomain: demo) }

    private func versions(_ state: DeltaClientState) -> [String: String]? {
        state.subscriptions().first { $0.typeURL == ResourceType.address }?.initialResourceVersions
    }

    @Test("it asks for both types by name of the node, and holds nothing at first")
    func subscriptions() {
        let requests = client().subscriptions()
        #expect(requests.map(\.typeURL) == [ResourceType.address, ResourceType.authorization])
        #expect(requests.allSatisfy { $0.node.id == "node-a" && $0.initialResourceVersions.isEmpty })
    }

    @Test("good resources are taken and acknowledged, and named with their versions on the next stream")
    func taken() throws {
        var state = client()
        let workload = DiscoveryResource(try web())
        let service = DiscoveryResource(try webService())
        let outcome = state.receive(response(workload, service, nonce: "9"))
        #expect(
            outcome.update == MeshUpdate(upsertedWorkloads: [try web()], upsertedServices: [try webService()]))
        #expect(outcome.reply.responseNonce == "9")
        #expect(!outcome.reply.hasErrorDetail)
        #expect(versions(state) == [workload.name: workload.version, service.name: service.version])
    }

    @Test("removals of what it holds are passed on, of others not")
    func removals() throws {
        var state = client()
        _ = state.receive(response(DiscoveryResource(try web())))
        #expect(state.receive(response(removed: ["u1", "unknown"])).update.removed == ["u1"])
        #expect(versions(state) == [:])
    }

    @Test("a bad resource is refused by name, the good ones beside it are taken")
    func refused() throws {
        var state = client()
        let bad = DiscoveryResource(name: "u2", version: "1", body: Data([0xff]))
        let outcome = state.receive(response(bad, DiscoveryResource(try web())))
        #expect(outcome.update.upsertedWorkloads == [try web()])
        #expect(outcome.refused.map(\.resource) == ["u2"])
        #expect(outcome.reply.errorDetail.message.contains("\"u2\""))
        #expect(versions(state)?["u2"] == nil)
    }

    @Test(
        "a refused change leaves the version that is held, so that the next stream brings the change or removal again")
    func refusedChange() throws {
        var state = client()
        let good = DiscoveryResource(try web())
        _ = state.receive(response(good))
        _ = state.receive(response(DiscoveryResource(name: "u1", version: "2", body: Data([0xff]))))
        #expect(versions(state) == ["u1": good.version])
    }

    @Test("a resource under another name than its key is refused")
    func misnamed() throws {
        var state = client()
        let body = DiscoveryResource(try web()).body
        let outcome = state.receive(response(DiscoveryResource(name: "u9", version: "1", body: body)))
        #expect(outcome.update.isEmpty)
        #expect(outcome.refused.map(\.field) == ["name"])
    }

    @Test("a policy is refused: it would not be enforced")
    func policy() {
        var state = client()
        let outcome = state.receive(
            .with {
                $0.typeURL = ResourceType.authorization
                $0.resources = [.with { $0.name = "shop/deny" }]
            })
        #expect(outcome.refused.map(\.resource) == ["shop/deny"])
        #expect(outcome.reply.hasErrorDetail)
    }

    @Test("the policy that refuses plaintext is taken, under the name of any root namespace, and nothing else under it")
    func strictPolicy() throws {
        var policy = StrictPolicy.message
        func outcome(_ name: String, _ policy: Istio_Security_Authorization) throws -> [String] {
            var state = client()
            let body = try policy.serializedBytes() as Data
            let resource = DiscoveryResource(
                name: name, version: "1", body: body, type: ResourceType.authorization)
            let outcome = state.receive(
                .with {
                    $0.typeURL = ResourceType.authorization
                    $0.resources = [resource.message]
                })
            #expect(outcome.update.isEmpty)
            return outcome.refused.map(\.resource)
        }
        #expect(try outcome(DiscoveryResource.strictPolicy.name, policy) == [])
        policy.namespace = "mesh"
        #expect(try outcome("mesh/istio_converted_static_strict", policy) == [])
        #expect(try outcome("shop/deny", policy) == ["shop/deny"])
        policy.dryRun = true
        #expect(try outcome("mesh/istio_converted_static_strict", policy) == ["mesh/istio_converted_static_strict"])
    }

    @Test("a type that was not asked for is refused")
    func otherType() {
        var state = client()
        #expect(state.receive(.with { $0.typeURL = "other" }).reply.hasErrorDetail)
        #expect(!state.isSynchronised)
    }

    @Test("a long list of refusals is cut")
    func manyRefusals() {
        var state = client()
        let outcome = state.receive(
            .with {
                $0.typeURL = ResourceType.address
                $0.resources = (0..<1000).map { number in .with { $0.name = "u\(number)" } }
            })
        #expect(outcome.refused.count == 1000)
        #expect(outcome.reply.errorDetail.message.hasSuffix("; and 980 more"))
    }

    @Test("it is synchronised when both types have been answered")
    func synchronised() {
        var state = client()
        #expect(!state.isSynchronised)
        _ = state.receive(response())
        #expect(!state.isSynchronised)
        _ = state.receive(noPolicies)
        #expect(state.isSynchronised)
    }

    @Test("reconnecting waits 10 ms, doubling to 15 s, and starts over after a long connection only")
    func backoff() {
        var backoff = ReconnectBackoff()
        #expect(backoff.delay(afterConnectionOf: .zero) == .milliseconds(10))
        #expect(backoff.delay(afterConnectionOf: .zero) == .milliseconds(20))
        #expect(backoff.delay(afterConnectionOf: .seconds(1)) == .milliseconds(40))
        for _ in 0..<10 { _ = backoff.delay(afterConnectionOf: .zero) }
        #expect(backoff.delay(afterConnectionOf: .zero) == .seconds(15))
        #expect(backoff.delay(afterConnectionOf: .seconds(16)) == .milliseconds(10))
    }
}
