import ArgumentParser

/// `culvert proxy …`
struct ProxyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy",
        abstract: "The node's data plane.",
        subcommands: [ProxyRun.self]
    )
}
