import ArgumentParser

/// `culvert agent …`
struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "The node's agent: enrols pods and tells the proxy of them.",
        discussion: """
            EXAMPLES
              culvert agent run --mesh mesh.yaml --node node-a
              culvert agent status                      is every pod's capture whole?
              culvert agent cleanup --dry-run           what there is of Culvert on this node
            """,
        subcommands: [AgentRun.self, AgentStatus.self, AgentCleanup.self]
    )
}
