import ArgumentParser

/// `culvert demo-app`: what the demo runs in its namespaces. Not for people, so not shown in the help.
struct DemoApp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo-app", abstract: "The demo's own programs.", shouldDisplay: false,
        subcommands: [DemoAppServe.self, DemoAppCertificate.self], defaultSubcommand: DemoAppServe.self)
}
