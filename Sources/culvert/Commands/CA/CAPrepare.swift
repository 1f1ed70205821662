import ArgumentParser

/// `culvert ca prepare`
struct CAPrepare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare",
        abstract: "Makes the next root and publishes it; nothing is signed with it yet.",
        discussion: """
            Every node gets the new bundle and says so. “culvert ca activate” signs with the new root then; left alone, it is \
            activated when the present root nears its end. “culvert ca abort” takes it back.

            EXAMPLES
              culvert ca prepare
              culvert ca prepare && culvert ca activate --wait

            \(RotationExit.help)
            """
    )

    @OptionGroup var options: RotationOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            try call.print(try await call.run(.prepare))
        }
    }
}
