import ArgumentParser
import Authority
import FoundationEssentials

/// `culvert ca rotate`
struct CARotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Replaces the root: prepare, activate, taint and revoke, each when nobody is cut off by it.",
        discussion: """
            The authority does it by itself, and goes on after a restart; this command follows it and may be interrupted. It takes \
            about as long as leaves and connections live, two hours with the defaults.

            With --emergency, for a key that may be in a stranger's hands, a prepared root is given up and a new one made, and \
            nodes are waited for only so long: a minute before it signs, and a quarter of an hour before the old root is \
            revoked, which is at once when every node says that nothing depends on it (`culvert ca serve` has options for both). Who is \
            late is cut off: the command, `culvert ca status` and the audit log say who and why, and what brings them back.

            EXAMPLES
              culvert ca rotate --dry-run
              culvert ca rotate
              culvert ca rotate --emergency --reason "backup tape lost"
              culvert ca rotate --resume --timeout 30m    follow the one that is under way
              culvert ca rotate --no-wait; culvert ca status

            \(RotationExit.help)
            """
    )

    @Flag(help: "The key may be in a stranger's hands. Needs --reason.")
    var emergency = false

    @Option(help: ArgumentHelp("Why it is an emergency, in up to 500 bytes on one line.", valueName: "text"))
    var reason: String?

    @Flag(help: "Follow the rotation that is under way.")
    var resume = false

    @Flag(help: "Say what would be done, and do nothing.")
    var dryRun = false

    @Flag(inversion: .prefixedNo, help: "Follow the rotation to its end.")
    var wait = true

    @Option(help: .duration("How long to follow it."))
    var timeout = ArgumentDuration(.seconds(4 * 3600))

    @OptionGroup var options: RotationOptions

    func validate() throws {
        guard emergency == (reason != nil) else {
            throw ValidationError(emergency ? "--emergency needs a --reason" : "--reason is for --emergency")
        }
        guard [resume, emergency, dryRun].count(where: \.self) <= 1 else {
            throw ValidationError("--resume, --emergency and --dry-run exclude each other")
        }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            let call = RotationCall(options: options)
            let before = try await call.status()
            if dryRun {
                let plan = RotationPlan(before)
                return print(try options.format.document?.text(plan) ?? plan.text, terminator: "")
            }
            let since: UInt64
            if resume {
                guard let rotation = before.rotation else {
                    throw CommandFailure(
                        "no rotation is under way", hint: "“culvert ca rotate” begins one",
                        exitCode: RotationExit.refused)
                }
                since = rotation.id - 1
            } else {
                let begun = try await call.run(emergency ? .rotateInEmergency : .rotate, reason: reason)
                guard wait else { return try call.print(begun) }
                since = (begun.steps.first?.position ?? 1) - 1
            }
            guard wait else { return }
            let outcome = try await call.follow(since: since, timeout: timeout.value)
            try call.print(outcome)
            try await warnOfCutOff(outcome, call)
            guard outcome.steps.contains(where: { $0.step == "finished" }) else {
                throw CommandFailure("the rotation was given up", exitCode: RotationExit.refused)
            }
        }
    }

    /// Who was left behind and has not come back by now, and what to do for them.
    private func warnOfCutOff(_ outcome: RotationCall.Outcome, _ call: RotationCall) async throws {
        guard outcome.steps.contains(where: { $0.cutOff != nil }) else { return }
        let left = try await call.status().nodes.filter { $0.cutOff != nil }
        guard !left.isEmpty else { return }
        for node in left { StandardError.write("cut off: \(node.name): \(node.cutOff ?? "")\n") }
        StandardError.write("hint: \(AuthorityStatus.wayBack)\n")
    }
}

/// What a rotation would do now, for `--dry-run`.
struct RotationPlan: Encodable, Equatable {
    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    /// In their order.
    let steps: [String]
    /// Live nodes that have not acknowledged the newest bundle: it would wait for them.
    let lagging: [String]

    init(_ report: AuthorityReport) {
        let roots = report.authorities.filter { $0.kind == "root" }
        let live = report.nodes.filter(\.live)
        let prepared = roots.first { $0.state == "prepared" }
        var steps = [
            prepared.map { "take the prepared authority \($0.id)" } ?? "prepare a new authority and publish it",
            "wait until \(live.count) live nodes have acknowledged the bundle that has it, then sign with it",
        ]
        for root in roots where ["active", "old", "tainted"].contains(root.state) {
            steps.append("taint \(root.id): \(root.leaves) leaves are issued anew")
            steps.append("revoke \(root.id) when nothing depends on it any more (\(root.connections) connections now)")
        }
        self.steps = steps
        lagging = live.filter { $0.behindSince != nil }.map(\.name)
    }

    var text: String {
        let warning = lagging.isEmpty ? "" : "These nodes lag already: \(lagging.joined(separator: ", "))\n"
        return steps.enumerated().map { "\($0 + 1). \($1)\n" }.joined() + warning
    }
}
