import ArgumentParser

/// `culvert agent …`
struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "The node's agent: enrols pods and tells the proxy of them.",
        subcommands: [AgentRun.self]
    )
}
