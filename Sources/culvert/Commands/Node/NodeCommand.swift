import ArgumentParser

/// `culvert node …`
struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "The nodes that have joined: what they hold, and whether they may.",
        subcommands: [NodeList.self, NodeShow.self, NodeBanCommand.self, NodeUnban.self, NodeEvict.self]
    )
}
