import Glibc
import IPAddressing
import KubernetesAPI
import KubernetesKit
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

@Suite(
    "The agent on a cluster", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: ClusterScene.isPossible, "needs root, nft, kubectl and cgroups: makes network namespaces"))
struct KubernetesAgentTests {
    private let label = "culvert.dev/mtls-enabled"

    @Test(
        "kubectl label enrols the running pods of a namespace, and without the label they are byte for byte what they were"
    )
    func labelled() async throws {
        let scene = try await ClusterScene(hosts: 4)
        let (web, own, out, other) = (
            scene.network.hosts[0], scene.network.hosts[1], scene.network.hosts[2], scene.network.hosts[3]
        )
        try scene.run("web", on: web)
        try scene.run("host", on: own, spec: ["hostNetwork": true])
        try scene.run("out", on: out)
        try scene.run("else", in: "open", on: other)
        #expect(scene.kubectl("label pod -n shop out \(label)=false").contains("labeled"))
        let before = try scene.network.hosts.map { try NamespaceInventory.text(of: $0.namespace) }
        try await scene.withAgent { agent, source in
            #expect(await eventually { agent.isServing })
            #expect(agent.podPhases.isEmpty)
            for _ in 0..<2 {
                #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
                await scene.awaitStatus("web", .enrolled)
                #expect(scene.status("web")?.backend == "nft")
                #expect(agent.podPhases.count == 1)
                #expect(try scene.isRedirected(web))
                for host in [own, out, other] { #expect(try !scene.isRedirected(host)) }

                #expect(scene.kubectl("label namespace shop \(label)-").contains("unlabeled"))
                await scene.awaitStatus("web", nil)
                #expect(agent.podPhases.isEmpty)
                let after = try scene.network.hosts.map { try NamespaceInventory.text(of: $0.namespace) }
                #expect(after == before)
            }
            // A pod's own label takes it out, and back.
            #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
            await scene.awaitStatus("web", .enrolled)
            #expect(scene.kubectl("label pod -n shop web \(label)=false").contains("labeled"))
            await scene.awaitStatus("web", nil)
            #expect(scene.kubectl("label pod -n shop web \(label)-").contains("unlabeled"))
            await scene.awaitStatus("web", .enrolled)
            #expect(source.interruption == nil)
        }
        #expect(scene.status("host") == nil && scene.status("out") == nil && scene.status("else", in: "open") == nil)
        await scene.end()
    }

    @Test("a restart adopts what is enrolled, whose rules stay as they are, and releases what went meanwhile")
    func restart() async throws {
        let scene = try await ClusterScene(hosts: 3)
        let hosts = scene.network.hosts
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        try scene.run("stays", on: hosts[0])
        let gone = try scene.run("gone", on: hosts[1])
        try scene.run("out", on: hosts[2])
        try await scene.withAgent(isCancelled: true) { _, _ in
            for name in ["stays", "gone", "out"] { await scene.awaitStatus(name, .enrolled) }
        }
        let rules = try scene.rules(hosts[0])
        #expect(rules.contains("culvert"))
        try scene.delete("gone", uid: gone)
        #expect(scene.kubectl("label pod -n shop out \(label)=false").contains("labeled"))
        let events = scene.server.list(.coreEvents, namespace: "shop").count
        try await scene.withAgent { agent, _ in
            await scene.awaitStatus("out", nil)
            #expect(agent.podPhases.count == 1)
            let isRedirected = try scene.isRedirected(hosts[2])
            #expect(!isRedirected)
            #expect(await eventually { scene.directory.records.filter { $0.contains(gone) }.isEmpty })
        }
        #expect(try scene.rules(hosts[0]) == rules)
        await scene.awaitStatus("stays", .enrolled)
        // That it is enrolled was said by the first agent.
        #expect(scene.server.list(.coreEvents, namespace: "shop").count == events)
        await scene.end()
    }

    @Test(
        "nothing changes for running pods while the API server is away; what changed meanwhile is found, also when it has forgotten"
    )
    func away() async throws {
        let scene = try await ClusterScene(hosts: 2)
        let hosts = scene.network.hosts
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        try scene.run("web", on: hosts[0])
        try await scene.withAgent { agent, source in
            await scene.awaitStatus("web", .enrolled)
            let rules = try scene.rules(hosts[0])
            scene.loseServer()
            #expect(await eventually { source.interruption != nil })
            #expect(agent.podPhases.count == 1)
            #expect(try scene.rules(hosts[0]) == rules)
            // A pod comes, another opts out, and then the changes are forgotten.
            try scene.run("late", on: hosts[1])
            try scene.server.update(.pods, "shop", "web") {
                $0["metadata"]["labels"]["culvert.dev/mtls-enabled"] = "false"
            }
            scene.server.compact()
            scene.server.faults.clear()
            await scene.awaitStatus("late", .enrolled)
            await scene.awaitStatus("web", nil)
            #expect(try !scene.isRedirected(hosts[0]))
            #expect(try scene.isRedirected(hosts[1]))
            #expect(await eventually { source.interruption == nil })
        }
        await scene.end()
    }

    @Test("a pod that is made again under its name is another one, in another network namespace")
    func madeAgain() async throws {
        let scene = try await ClusterScene(hosts: 2)
        let hosts = scene.network.hosts
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        let first = try scene.run("web-0", on: hosts[0])
        try await scene.withAgent { agent, _ in
            await scene.awaitStatus("web-0", .enrolled)
            #expect(agent.podPhases.keys.sorted() == [first])
            try scene.delete("web-0", uid: first)
            let second = try scene.run("web-0", on: hosts[1])
            await scene.awaitStatus("web-0", .enrolled)
            #expect(await eventually { agent.podPhases.keys.sorted() == [second] })
            #expect(try scene.isRedirected(hosts[1]))
            // The former one's namespace is held by the test: nothing of ours is left in it.
            #expect(await eventually { (try? scene.isRedirected(hosts[0])) == false })
        }
        await scene.end()
    }

    @Test(
        "a pod whose network namespace cannot be found holds up no other, is shown with its reason, and is enrolled when it is there"
    )
    func missing() async throws {
        let scene = try await ClusterScene(hosts: 2)
        let hosts = scene.network.hosts
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        let lost = try scene.schedule("lost", spec: ["readinessGates": [["conditionType": "culvert.dev/enrolled"]]])
        try scene.tell("lost", addresses: [hosts[0].v4])
        try scene.run("web", on: hosts[1])
        try await scene.withAgent { agent, _ in
            await scene.awaitStatus("web", .enrolled)
            await scene.awaitStatus("lost", .waiting)
            #expect(scene.status("lost")?.reason?.contains("no process of the pod") == true)
            #expect(agent.podsWithoutNamespace == 1)
            #expect(condition(scene) == ["False", "EnrolmentFailed"])
            let told = await scene.server.wait { server in
                server.list(.coreEvents, namespace: "shop").contains {
                    $0["reason"] == "EnrolmentFailed" && $0["involvedObject"]["uid"] == .string(lost)
                        && $0["type"] == "Warning"
                }
            }
            #expect(told)

            try scene.start("lost", uid: lost, on: hosts[0])
            await scene.awaitStatus("lost", .enrolled)
            #expect(condition(scene) == ["True", "Enrolled"])
            // The sandbox is made again under the same uid.
            scene.stop(uid: lost)
            let rules = try scene.rules(hosts[1])
            let again = try TestNetwork(hosts: 1)
            try scene.start("lost", uid: lost, on: again.hosts[0])
            #expect(await eventually { (try? scene.isRedirected(again.hosts[0])) == true })
            #expect(try scene.rules(hosts[1]) == rules)
        }
        await scene.end()
    }

    private func condition(_ scene: ClusterScene) -> [String?] {
        let conditions = scene.server.get(.pods, "shop", "lost")?["status"]["conditions"].array ?? []
        let condition = conditions.first { $0["type"] == "culvert.dev/enrolled" }
        return [condition?["status"].string, condition?["reason"].string]
    }

    @Test(
        "the node's Lease says how its agent is, and the startup taint goes when a proxy is there, and no other taint")
    func node() async throws {
        let scene = try await ClusterScene(hosts: 1)
        try scene.server.update(.nodes, "", "node-a") { node in
            node["spec"]["taints"] = [
                ["key": "other", "effect": "NoSchedule"],
                ["key": "culvert.dev/agent-not-ready", "effect": "NoSchedule"], ["key": "last", "effect": "NoExecute"],
            ]
        }
        func taints() -> [String] {
            (scene.server.get(.nodes, "", "node-a")?["spec"]["taints"].array ?? []).compactMap { $0["key"].string }
        }
        try await scene.withAgent { agent, _ in
            #expect(await eventually { agent.isServing })
            let beats = await scene.server.wait(for: .leases, "culvert-system", "culvert-agent.node-a") { $0 != nil }
            #expect(beats)
            let lease = try #require(scene.server.get(.leases, "culvert-system", "culvert-agent.node-a"))
            #expect(lease["spec"]["holderIdentity"] == "node-a")
            #expect(
                lease["metadata"]["annotations"][NodeHeartbeat.annotation].string?.contains(#""version":"1.2.3""#)
                    == true)
            #expect(taints() == ["other", "culvert.dev/agent-not-ready", "last"])

            let proxy = StandInProxy(scene.directory.runDirectory)
            try await proxy.whileRunning {
                let removed = await scene.server.wait(for: .nodes, "", "node-a") { node in
                    node?["spec"]["taints"].array?.count == 2
                }
                #expect(removed)
            }
            #expect(taints() == ["other", "last"])
        }
        await scene.end()
    }

    @Test("100 pods are enrolled, and the next agent adopts them all")
    func many() async throws {
        let scene = try await ClusterScene(hosts: 0)
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        let count = 100
        var namespaces: [NetworkNamespace] = []
        for number in 0..<count {
            let address = IPAddress(v4: 0x0af4_0b00 + UInt32(number))
            let namespace = try NetworkNamespace.make()
            try namespace.run {
                let routes = try RouteSocket()
                try routes.setUp("lo")
                try routes.addAddress(address, prefixLength: 32, to: "lo")
            }
            namespaces.append(namespace)
            let uid = try scene.schedule("web-\(number)")
            try scene.start("web-\(number)", uid: uid, in: namespace, addresses: [address])
        }
        func rules() throws -> [String] {
            try namespaces.map { try $0.run { TestNetwork.shell("nft -s list ruleset") } }
        }
        try await scene.withAgent(isCancelled: true) { agent, _ in
            let isEnrolled = await scene.server.wait(atMost: .seconds(90)) { server in
                server.list(.pods, namespace: "shop").allSatisfy { pod in
                    pod["metadata"]["annotations"][PodEnrolmentStatus.annotation].string?.contains("enrolled") == true
                }
            }
            #expect(isEnrolled)
            #expect(agent.podPhases.values.allSatisfy { $0 == .enrolled } && agent.podPhases.count == count)
        }
        let before = try rules()
        #expect(before.allSatisfy { $0.contains("culvert") })
        try await scene.withAgent { agent, _ in
            let deadline = ContinuousClock.now + .seconds(90)
            while !agent.isServing, .now < deadline { try await Task.sleep(for: .milliseconds(20)) }
            #expect(agent.podPhases.values.allSatisfy { $0 == .enrolled } && agent.podPhases.count == count)
        }
        #expect(try rules() == before)
        await scene.end()
    }

    @Test("at the end, pods that are taken out lose their status; pods that are left keep it")
    func ends() async throws {
        let scene = try await ClusterScene(hosts: 1)
        #expect(scene.kubectl("label namespace shop \(label)=true").contains("labeled"))
        try scene.run("web", on: scene.network.hosts[0])
        try await scene.withAgent(onExit: .leave) { _, _ in await scene.awaitStatus("web", .enrolled) }
        #expect(scene.status("web")?.state == .enrolled)
        try await scene.withAgent(onExit: .remove) { _, _ in await scene.awaitStatus("web", .enrolled) }
        #expect(scene.status("web") == nil)
        #expect(try !scene.isRedirected(scene.network.hosts[0]))
        await scene.end()
    }
}
