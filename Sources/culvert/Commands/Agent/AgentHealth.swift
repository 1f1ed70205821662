import Glibc
import Hummingbird
import IPAddressing
import Logging
import NIOCore
import NodeAgent
import Observability
import ServiceLifecycle

/// Whether an agent does its work, for the kubelet's probes and for metrics.
struct AgentHealth: Service {
    private let agent: Agent
    private let source: KubernetesPodSource?
    private let address: IPAddressing.SocketAddress?
    private let logger: Logger

    /// Without an address it is told to nobody.
    init(_ agent: Agent, source: KubernetesPodSource?, address: IPAddressing.SocketAddress?, _ logger: Logger) {
        self.agent = agent
        self.source = source
        self.address = address
        self.logger = logger
    }

    /// Not ready before all of the cluster is known, and every pod of the node was tried.
    private var obstacle: String? {
        if let reason = source?.notCompleteBecause { return reason }
        return agent.isServing ? nil : "the node's pods were not looked at yet"
    }

    private var metrics: MetricsPage {
        var page = MetricsPage()
        let phases = agent.podPhases.values
        func count(_ name: String) -> Int { phases.count { $0.name == name } }
        page.add(
            "culvert_agent_pods", .gauge, "Pods of this node that are enrolled, or are to be, by phase.",
            ["recorded", "enrolled", "waiting", "draining", "leaving"].map { .init(count($0), ["phase": $0]) })
        page.add(
            "culvert_agent_unprotected_pods", .gauge, "Pods that are to be enrolled, and are not.",
            [.init(count("waiting") + agent.podsWithoutNamespace)])
        page.add(
            "culvert_agent_ready", .gauge, "Whether all of the cluster is known and every pod was tried.",
            [.init(obstacle == nil ? 1 : 0)])
        if let source {
            page.add(
                "culvert_agent_source_behind", .gauge, "Whether the API server's changes do not come in.",
                [.init(source.interruption == nil ? 0 : 1)])
        }
        if let discovery = agent.discovery { page.add(discovery) }
        return page
    }

    func run() async throws {
        guard let address else { return try await gracefulShutdown() }
        let server = ObservabilityServer.all(
            obstacle: { obstacle }, metrics: { metrics }, host: "\(address.ip)", port: Int(address.port), logger: logger
        )
        do {
            try await server.run()
        } catch let error as IOError {
            throw CommandFailure(
                "cannot serve health checks on \(address): \(String(cString: strerror(error.errnoCode)))",
                hint: "is another process listening there, or is the address not this machine's?")
        }
    }
}
