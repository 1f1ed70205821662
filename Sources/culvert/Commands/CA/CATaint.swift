import ArgumentParser

/// `culvert ca taint`
struct CATaint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "taint",
        abstract: "Has everything that an old root signed issued anew at once.",
        discussion: """
            The root stays in the bundle, and what it signed stays in use until each node has its replacement. “culvert ca \
            status” shows how many leaves and connections depend on it still.

            EXAMPLES
              culvert ca taint
              culvert ca taint 3fa1 && culvert ca revoke 3fa1 --wait --timeout 3h

            \(RotationExit.help)
            """
    )

    @Argument(help: "The authority, by its id or the id's beginning; without it the only old one.")
    var authority: String?

    @OptionGroup var options: RotationOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            let id = try await call.authority(authority, in: "old")
            try call.print(try await call.run(.taint, authority: id))
        }
    }
}
