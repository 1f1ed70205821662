import ArgumentParser

/// `culvert ca token …`
struct CAToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Tokens with which nodes join.",
        subcommands: [CATokenCreate.self]
    )
}
