import ArgumentParser

/// `culvert demo-app http|echo|sink`
struct DemoAppServe: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Runs one of the demo's plain TCP servers.", shouldDisplay: false)

    @Argument(help: "http, echo or sink.")
    var program: DemoTopology.Program

    @Option(help: "The TCP port, on all addresses.")
    var port: UInt16?

    @Option(help: "The pod's name, for the greeting.")
    var name = "demo"

    func run() throws {
        try DemoServer(program: program, name: name).run(port: port ?? program.port)
    }
}

extension DemoTopology.Program: ExpressibleByArgument {}
