import ArgumentParser

/// `culvert ca revoke`
struct CARevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Takes a tainted root out of the bundle: nothing that it signed is trusted any more.",
        discussion: """
            Not while a live leaf or connection depends on it, and not before the last leaf that it signed must have ended.

            EXAMPLES
              culvert ca revoke --wait --timeout 3h
              culvert ca revoke 3fa1 --force --reason "its key was on a stolen laptop"

            \(RotationExit.help)
            """
    )

    @Argument(help: "The authority, by its id or the id's beginning; without it the only tainted one.")
    var authority: String?

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var force: ForceOptions
    @OptionGroup var options: RotationOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            let id = try await call.authority(authority, in: "tainted")
            try call.print(try await call.run(.revoke, authority: id, reason: force.reason, waiting: waiting))
        }
    }
}
