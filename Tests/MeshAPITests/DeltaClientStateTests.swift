import FoundationEssentials
import IPAddressing
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
            $0.typeURL = ResourceType.address.url
            $0.nonce = nonce
            $0.resources = resources.map(\.message)
            $0.removedResources = removed
        }
    }

    private var noPolicies: Delta { .with { $0.typeURL = ResourceType.authorization.url } }

    private func client() -> DeltaClientState { DeltaClientState(node: "node-a", trustDomain: demo) }

    private func versions(_ state: DeltaClientState) -> [String: String]? {
        var state = state
        return state.subscriptions().first { $0.typeURL == ResourceType.address.url }?.initialResourceVersions
    }

    @Test("it asks for both types by name of the node, and holds nothing at first")
    func subscriptions() {
        var state = client()
        let requests = state.subscriptions()
        #expect(requests.map(\.typeURL) == [ResourceType.address.url, ResourceType.authorization.url])
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
        let bad = DiscoveryResource(name: "u2", version: "1", body: [0xff])
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
        _ = state.receive(response(DiscoveryResource(name: "u1", version: "2", body: [0xff])))
        #expect(versions(state) == ["u1": good.version])
    }

    @Test("a resource under another name than its key is refused")
    func misnamed() throws {
        var state = client()
        let body = [UInt8](DiscoveryResource(try web()).message.resource.value)
        let outcome = state.receive(response(DiscoveryResource(name: "u9", version: "1", body: body)))
        #expect(outcome.update.isEmpty)
        #expect(outcome.refused.map(\.field) == ["name"])
    }

    @Test("a policy is refused: it would not be enforced")
    func policy() {
        var state = client()
        let outcome = state.receive(
            .with {
                $0.typeURL = ResourceType.authorization.url
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
            let body = try policy.serializedBytes() as [UInt8]
            let resource = DiscoveryResource(
                name: name, version: "1", body: body, type: .authorization)
            let outcome = state.receive(
                .with {
                    $0.typeURL = ResourceType.authorization.url
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
                $0.typeURL = ResourceType.address.url
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

    private func addresses(_ requests: [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest]) -> [String] {
        requests.flatMap { $0.resourceNamesSubscribe }
    }

    @Test("an address is asked for once, and answered by its removal, whatever else is in the response")
    func questions() throws {
        var state = client()
        let address = try #require(IPAddress("10.244.1.2"))
        guard case .ask(let request) = state.ask(address) else {
            Issue.record("not asked")
            return
        }
        #expect(request.typeURL == ResourceType.address.url)
        #expect(request.resourceNamesSubscribe == ["/10.244.1.2"])
        guard case .asked = state.ask(address) else {
            Issue.record("asked again")
            return
        }
        #expect(state.receive(response(DiscoveryResource(try web("u2")))).answered == [])
        let outcome = state.receive(response(DiscoveryResource(try web()), removed: ["/10.244.1.2"]))
        #expect(outcome.answered == [address])
        #expect(outcome.update == MeshUpdate(upsertedWorkloads: [try web()]))
        guard case .ask = state.ask(address) else {
            Issue.record("an answered question cannot be asked again")
            return
        }
    }

    @Test("questions without an answer are asked again on the next stream, after the mesh has come")
    func questionsAgain() throws {
        var state = client()
        _ = state.subscriptions()
        _ = state.ask(try #require(IPAddress("10.244.1.9")))
        #expect(addresses(state.subscriptions()) == [])
        #expect(addresses(state.receive(noPolicies).next) == [])
        #expect(addresses(state.receive(response()).next) == ["/10.244.1.9"])
        #expect(addresses(state.receive(response()).next) == [])
        _ = state.subscriptions()
        state.withdrawQuestions()
        #expect(addresses(state.receive(response()).next) == [])
    }

    @Test("questions are bounded")
    func questionsMax() {
        var state = client()
        for number in 0..<UInt32(DeltaClientState.questionsMax) { _ = state.ask(IPAddress(v4: number + 1)) }
        guard case .tooMany = state.ask(IPAddress(v4: .max)) else {
            Issue.record("one more")
            return
        }
    }

    @Test("ranges are asked for when the mesh has come, and taken")
    func ranges() throws {
        var state = client()
        _ = state.subscriptions()
        #expect(state.receive(noPolicies).next.isEmpty)
        #expect(state.receive(response()).next.map(\.typeURL) == [ResourceType.ranges.url])
        let ranges: Set<IPPrefix> = [try #require(IPPrefix("10.244.0.0/24")), try #require(IPPrefix("fd00::/64"))]
        func told(_ resources: [DiscoveryResource], removed: [String] = []) -> DeltaClientState.Outcome {
            state.receive(
                .with {
                    $0.typeURL = ResourceType.ranges.url
                    $0.resources = resources.map(\.message)
                    $0.removedResources = removed
                })
        }
        #expect(told([DiscoveryResource(ranges: ranges)]).update == MeshUpdate(ranges: ranges))
        #expect(told([], removed: ["mesh"]).update == MeshUpdate(ranges: []))
        let bad = DiscoveryResource(
            name: "mesh", message: Culvert_Mesh_V1_AddressRanges.with { $0.ranges = [.with { $0.length = 8 }] },
            type: .ranges)
        #expect(told([bad]).refused.map(\.field) == ["ranges[0]"])
        #expect(state.isSynchronised)
    }

    @Test("a server that ends the stream over ranges is not asked for them again")
    func noRanges() {
        var state = client()
        func stream() -> [String] {
            _ = state.subscriptions()
            return (state.receive(noPolicies).next + state.receive(response()).next).map(\.typeURL)
        }
        state.wasRefused()
        #expect(stream() == [ResourceType.ranges.url])
        #expect(stream() == [ResourceType.ranges.url])
        state.wasRefused()
        #expect(stream() == [])
    }

    @Test("reconnecting waits 10 ms, doubling to 15 s, and starts over after a long connection only")
    func backoff() {
        var backoff = ReconnectBackoff()
        func wait(_ lifetime: Duration = .zero) -> Duration {
            backoff.delay(afterConnectionOf: lifetime, random: 0) * 2
        }
        #expect(wait() == .milliseconds(10))
        #expect(wait() == .milliseconds(20))
        #expect(wait(.seconds(1)) == .milliseconds(40))
        for _ in 0..<10 { _ = wait() }
        #expect(wait() == .seconds(15))
        #expect(wait(.seconds(16)) == .milliseconds(10))
    }

    @Test("those who reconnect are spread over half of their wait", arguments: [UInt32.min, 1 << 31, .max])
    func jitter(random: UInt32) {
        var backoff = ReconnectBackoff()
        for _ in 0..<12 { _ = backoff.delay(afterConnectionOf: .zero, random: random) }
        let share = backoff.delay(afterConnectionOf: .zero, random: random) / Duration.seconds(15)
        #expect(abs(share - (0.5 + Double(random) / Double(UInt32.max) / 2)) < 0.001)
    }
}
