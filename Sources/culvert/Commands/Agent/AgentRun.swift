public import ArgumentParser
import Logging
public import NodeAgent
import ServiceLifecycle
import UnixSignals

/// `culvert agent run`
struct AgentRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Enrols this node's pods, and tells its proxy of them and of the mesh.",
        discussion: """
            Reads pods, namespaces and services of all nodes from a mesh file, and follows its changes. Pods of this node \
            in a namespace labelled culvert.dev/mtls-enabled: "true" are enrolled: their TCP connections are led into the \
            proxy, and none leaves them in plaintext. A file with mistakes is refused with the line of each; the running \
            mesh stays.

            Needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and the nft program.

            Ended by SIGTERM or SIGINT it takes all pods out again, unless told to leave them. Ended in any other way it \
            leaves them enrolled: they stay closed rather than open, and the next agent adopts them.

            EXAMPLES
              culvert agent run --mesh mesh.yaml --node node-a
              culvert agent run --mesh mesh.yaml --node node-a --run-dir /run/culvert --on-exit leave
            """
    )

    @Option(help: "The mesh file.")
    var mesh: String

    @Option(help: "This node, by the name that pods of the mesh file have under 'node'.")
    var node: String

    @Option(help: "A directory for the proxy's sockets and for what is on record about pods.")
    var runDir = "/run/culvert"

    // A mesh file has one agent for its life: nobody is there to clean up behind it. An upgrade says `leave`.
    @Option(help: "What becomes of enrolled pods at the end: remove or leave.")
    var onExit = Agent.OnExit.remove

    @OptionGroup var logging: LoggingOptions

    func validate() throws {
        guard !node.isEmpty else { throw ValidationError("--node names no node") }
    }

    func run() async throws {
        logging.bootstrap()
        var logger = Logger(label: "culvert.agent")
        logger[metadataKey: "node"] = "\(node)"
        let directory = try AgentDirectory(path: runDir)
        do {
            let agent = Agent(
                node: node,
                source: MeshFilePodSource(path: mesh, logger: logger),
                redirector: try NFTPodRedirector(stateDirectory: directory.pods, logger: logger),
                handoff: try ZDSPodHandoff(socketPath: directory.zdsSocket, logger: logger),
                publisher: DiscoveryMeshPublisher(socketPath: directory.xdsSocket, logger: logger),
                onExit: onExit,
                logger: logger
            )
            logger.info("Agent started", metadata: ["mesh": "\(mesh)", "directory": "\(runDir)"])
            let group = ServiceGroup(
                services: [agent], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
            try await group.run()
        }
        directory.removeIfEmpty()
        logger.info("Agent ended")
    }
}

extension Agent.OnExit: ExpressibleByArgument {}
