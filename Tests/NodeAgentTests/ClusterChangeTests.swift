import IPAddressing
import MeshFile
import MeshState
import Redirection
import SPIFFE
import Synchronization
import Testing

@testable import NodeAgent

/// Keeps a journal of what it is told of addresses.
private final class ScriptedGuard: MeshGuard {
    let journal = Journal()
    let fails = Mutex(false)

    func publish(_ addresses: Set<IPAddress>) throws {
        try note(addresses.map(\.description).sorted().joined(separator: " "))
    }

    func publish(adding: Set<IPAddress>, removing: Set<IPAddress>) throws {
        try note("+\(adding.map(\.description).sorted()) -\(removing.map(\.description).sorted())")
    }

    private func note(_ line: String) throws {
        if fails.withLock({ $0 }) { throw Refused(description: "no map") }
        journal.note(line)
    }

    func trust(kubelet cgroup: String?) throws {}
    func reserve(_ source: ProbeSource?) throws {}
    func probeCounts() throws -> ProbeCounts { ProbeCounts(noted: 0, passed: 0) }
    func enrolledAddresses() throws -> Set<IPAddress> { [] }
    func takeEvents() throws -> [GuardEvent] { [] }
    var pods: [String] { [] }
    func detach(pod uid: String) throws {}
    func removeIfUnused() {}
}

@Suite("Changes of the cluster")
struct ClusterChangeTests {
    private let web = ServiceName(namespace: "shop", hostname: "web.shop.svc.cluster.local")

    private func service(_ address: String) throws -> Service {
        Service(name: web, shortName: "web", addresses: [try #require(IPAddress(address))], ports: [80: 8080])
    }

    @Test("the first one is the whole state")
    func first() throws {
        var difference = ClusterDifference(node: "node-a")
        let change = difference.change(
            to: try cluster(pod("here"), pod("there", node: "node-b"), pod("bad", serviceAccount: "no/such")))
        #expect(change.pods?.map(\.uid) == ["here", "bad"])
        #expect(Set(change.mesh.workloads.keys) == ["here", "there"])
        #expect(change.guarded == [try #require(IPAddress("10.0.0.1")): true])
        #expect(Array(change.omitted.keys) == ["bad"])
    }

    @Test("what is as it was is not in it")
    func unchanged() throws {
        var difference = ClusterDifference(node: "node-a")
        _ = difference.change(to: try cluster(pod("web"), pod("bad", serviceAccount: "no/such")))
        #expect(difference.change(to: try cluster(pod("web"), pod("bad", serviceAccount: "no/such"))).isEmpty)
    }

    @Test("another node's pods change the mesh, and leave this node's alone")
    func elsewhere() throws {
        var difference = ClusterDifference(node: "node-a")
        _ = difference.change(to: try cluster(pod("web"), pod("old", node: "node-b", address: "10.0.1.1")))
        let change = difference.change(to: try cluster(pod("web"), pod("new", node: "node-b", address: "10.0.1.2")))
        #expect(change.pods == nil)
        #expect(change.mesh.workloads.mapValues { $0?.uid } == ["old": nil, "new": "new"])
        #expect(
            change.guarded == [
                try #require(IPAddress("10.0.1.1")): false, try #require(IPAddress("10.0.1.2")): true,
            ])
    }

    @Test("changes that nobody took become one, in which the later ones count")
    func merged() throws {
        var difference = ClusterDifference(node: "node-a")
        var whole = difference.change(to: try cluster(pod("web"), pod("db"), services: [service("10.96.0.1")]))
        whole.merge(difference.change(to: try cluster(pod("db"), services: [service("10.96.0.2")])))
        whole.merge(difference.change(to: try cluster(pod("db", labels: [MeshFile.defaultEnrolmentLabel: "false"]))))
        #expect(whole.pods == [])
        #expect(
            whole.mesh.workloads.mapValues { $0?.tunnelProtocol } == ["web": nil, "db": Workload.TunnelProtocol.none])
        #expect(whole.mesh.services == [web: nil])
        #expect(whole.guarded.values.contains(true) == false)
    }

    @Test("the guard is told everything first, then what changed, and everything again after it failed")
    func guarded() throws {
        let podGuard = ScriptedGuard()
        let (a, b) = (try #require(IPAddress("10.0.0.1")), try #require(IPAddress("10.0.0.2")))
        var addresses = GuardedAddresses()
        addresses.take([a: true])
        try addresses.publish(to: podGuard)
        #expect(!addresses.isPublicationDue)
        addresses.take([a: true])
        #expect(!addresses.isPublicationDue)
        addresses.take([a: false, b: true])
        podGuard.fails.withLock { $0 = true }
        #expect(throws: Refused.self) { try addresses.publish(to: podGuard) }
        #expect(addresses.isPublicationDue)
        podGuard.fails.withLock { $0 = false }
        try addresses.publish(to: podGuard)
        addresses.take([a: true])
        try addresses.publish(to: podGuard)
        #expect(podGuard.journal.lines == ["10.0.0.1", "10.0.0.2", "+[\"10.0.0.1\"] -[]"])
    }
}
