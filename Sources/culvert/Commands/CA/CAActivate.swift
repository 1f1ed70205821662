import ArgumentParser

/// `culvert ca activate`
struct CAActivate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "activate",
        abstract: "Signs with the prepared root from now on.",
        discussion: """
            Not before every live node has acknowledged the bundle that has it: nobody is to meet a certificate that it cannot \
            verify. The root that signed until now becomes old; its leaves stay good.

            EXAMPLES
              culvert ca activate --wait --timeout 15m
              culvert ca activate 3fa1
              culvert ca activate --force --reason "node-7 burned down"

            \(RotationExit.help)
            """
    )

    @Argument(help: "The authority, by its id or the id's beginning; without it the prepared one.")
    var authority: String?

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var force: ForceOptions
    @OptionGroup var options: RotationOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            let id = try await call.authority(authority, in: "prepared")
            try call.print(try await call.run(.activate, authority: id, reason: force.reason, waiting: waiting))
        }
    }
}
