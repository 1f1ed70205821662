import Glibc
import IPAddressing
import LinuxNetworking
import Testing

@testable import culvert

@Suite("The demo's network", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
struct DemoNetworkTests {
    @Test("carries every program's traffic in plaintext before Culvert is there, and the taps count all of it")
    func plaintext() throws {
        let scene = try DemoScene("demo")
        defer { scene.remove() }
        let (network, taps) = (scene.network, scene.taps)
        for pod in network.topology.pods {
            for program in pod.programs { try serve(program, in: network[pod], name: pod.name) }
        }
        let traffic = DemoTraffic(network: network)
        for pair in network.topology.pairs {
            for way in DemoTraffic.ways(pair) where pair.to.address.contains(way.address.ip) {
                let before = taps.count(pair)
                guard case .answered = traffic.attempt(way, limit: .seconds(5)) else {
                    Issue.record("\(way) failed")
                    continue
                }
                #expect(taps.count(pair).plaintext > before.plaintext, "\(way)")
                #expect(taps.count(pair).tunnel == 0)
            }
        }
        let bulk = network.topology.pairs[1]
        let before = taps.count(bulk)
        let outcome = try traffic.transfer(bulk, to: bulk.to.address.v4, bytes: 8 << 20)
        #expect(outcome.succeededWholly, "\(outcome.failure ?? "")")
        #expect(taps.count(bulk).plaintext - before.plaintext >= 16 << 20)
        let report = taps.report
        #expect(report.check.passed, "\(report.check.detail)")
        #expect(NamedNetworkNamespace.names(prefix: scene.prefix).count == 8)
        try scene.directory.removeLeftovers(namespacePrefix: scene.prefix)
        #expect(NamedNetworkNamespace.names(prefix: scene.prefix).isEmpty)
    }

    private func serve(_ program: DemoTopology.Program, in namespace: NetworkNamespace, name: String) throws {
        let listener = try namespace.run { try BlockingSocket.listen(port: program.port) }
        _ = try SystemThread(name: "test-\(program)") {
            while let socket = try? listener.accept() {
                _ = try? SystemThread(name: "test-serve") {
                    try? DemoServer(program: program, name: name).serve(socket)
                }
            }
        }
    }
}
