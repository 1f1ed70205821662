import KubernetesKit
import LinuxNetworking
import NamespaceKit
import Testing

@testable import culvert

/// A cluster under load, from the label to its removal, through everything that an operator does to it meanwhile, and a node that is lost.
@Suite(
    "A cluster under load", .serialized,
    .enabled(if: DemoCluster.isPossible, "needs root, nft, kubectl and cgroups: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(4)))
struct ClusterDemoTests {
    @Test(
        "a label enrols, upgrades and deletions harm nobody else, and without the label all is as before; nothing in plaintext meanwhile"
    )
    func demonstration() async throws {
        let cluster = try await DemoCluster()
        let play = ClusterPlay(cluster)
        // Whatever becomes of it, everything ends.
        do {
            try await play.begin()
            try await play.label()
            try await play.delete("old-b")
            try await play.replaceAgents()
            try await play.replaceProxies()
            try await play.restart("node-b")
            try await play.unlabel()
        } catch {
            Issue.record(error)
        }
        print(play.report.text)
        play.traffic.stop()
        await cluster.end()
    }
}
