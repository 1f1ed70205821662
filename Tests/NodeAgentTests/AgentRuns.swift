import Logging
import Redirection
import ServiceLifecycle

@testable import NodeAgent

/// Nobody reads it.
let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension Agent {
    /// Runs while `body` runs; then is shut down gracefully, or cancelled.
    func running(isCancelled: Bool = false, _ body: (Agent) async throws -> Void) async throws {
        let group = ServiceGroup(services: [self], logger: quietLogger)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            defer { tasks.cancelAll() }
            try await body(self)
            guard !isCancelled else { return }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }
}

extension ScratchDirectory {
    /// The whole agent, with the kernel's redirection and with real sockets to proxies; `podGuard`, if any, on every pod. Connections of
    /// `kubelet`, a cgroup, reach strict pods, with a source of their own if there is a `translator`; `pins` is the guard's directory.
    func withAgent(
        guardedBy podGuard: PodGuard? = nil, onExit: Agent.OnExit = .remove,
        verificationInterval: Duration = .seconds(5), isCancelled: Bool = false, kubelet: String? = nil,
        translator: ProbeTranslation? = nil, pins: String? = nil, drainTimeout: Duration = .seconds(30),
        hasSandboxes: Bool = false,
        _ body: (Agent) async throws -> Void
    ) async throws {
        let run = try AgentDirectory(path: runDirectory)
        let redirector = try KernelPodRedirector(
            stateDirectory: run.pods, pinDirectory: pins, marker: pins.map { try ProbeMarker(directory: $0) },
            probeSource: translator?.source, logger: quietLogger)
        let agent = Agent(
            node: "node-a", source: MeshFilePodSource(path: mesh, logger: quietLogger),
            redirector: podGuard.map { GuardedPodRedirector(redirector, podGuard: $0) } ?? redirector,
            handoff: try ZDSPodHandoff(socketPath: run.zdsSocket, logger: quietLogger),
            publisher: DiscoveryMeshPublisher(socketPath: run.xdsSocket, logger: quietLogger), meshGuard: podGuard,
            probeExemption: kubelet.map(ProbeExemption.cgroup) ?? .none, probeTranslator: translator,
            verificationInterval: verificationInterval, drainTimeout: drainTimeout, onExit: onExit,
            sandboxServer: hasSandboxes ? try SandboxServer(runDirectory: runDirectory, logger: quietLogger) : nil,
            logger: quietLogger)
        try await agent.running(isCancelled: isCancelled, body)
    }
}

/// Within ten seconds.
func eventually(_ isTrue: () -> Bool) async -> Bool {
    for _ in 0..<1000 {
        if isTrue() { return true }
        try? await Task.sleep(for: .milliseconds(10))
    }
    return false
}
