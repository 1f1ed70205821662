import ArgumentParser

/// `culvert ca abort`
struct CAAbort: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort",
        abstract: "Gives up the prepared root, and a rotation that has not activated one yet.",
        discussion: """
            Nothing was signed with it, so nobody depends on it. Once a rotation has activated its root it goes on to its end.

            EXAMPLES
              culvert ca abort

            \(RotationExit.help)
            """
    )

    @OptionGroup var options: RotationOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            try call.print(try await call.run(.abort))
        }
    }
}
