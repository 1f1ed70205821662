import ArgumentParser
import FoundationEssentials
import MeshAPI

/// Exit codes of the commands that change authorities; 1 is that the authority was not reached or failed, 64 wrong usage.
enum RotationExit {
    /// No, and waiting will not help.
    static let refused = ExitCode(3)
    /// Nothing was done: it has to wait.
    static let waits = ExitCode(4)
    /// It was waited for in vain.
    static let timedOut = ExitCode(5)

    static let help = """
        EXIT STATUS
          0   done
          1   the authority was not reached, or failed
          3   refused: waiting will not help
          4   not yet: the answer says what it waits for
          5   waited for in vain
          64  wrong usage
        """
}

/// What every command that changes authorities takes.
struct RotationOptions: ParsableArguments {
    @Option(help: "text, json or yaml.")
    var format = AnswerFormat.text

    @OptionGroup var admin: AdminOptions
}

/// To go past what is waited for.
struct ForceOptions: ParsableArguments {
    @Flag(help: "Do not wait: nodes that are not ready are cut off. Needs --reason, which the history keeps.")
    var force = false

    @Option(help: ArgumentHelp("Why, in up to 500 bytes on one line.", valueName: "text"))
    var reason: String?

    func validate() throws {
        guard force == (reason != nil) else {
            throw ValidationError(force ? "--force needs a --reason" : "--reason is for --force")
        }
    }
}

/// To wait for what a step waits for.
struct WaitOptions: ParsableArguments {
    @Flag(help: "Wait until it can be done; what is waited for is said on standard error.")
    var wait = false

    @Option(help: .duration("How long to wait."))
    var timeout = ArgumentDuration(.seconds(600))
}

/// One command to the running authority, and what is printed of its answer.
struct RotationCall {
    let options: RotationOptions

    private static let pause = Duration.milliseconds(300)

    /// The steps that were taken.
    struct Outcome: Encodable {
        let schemaVersion = 1
        var steps: [AuthorityReport.StepLine]
        /// What the next step waits for.
        var waiting: AuthorityReport.WaitLine?
    }

    func status() async throws -> AuthorityReport {
        AuthorityReport(
            try await options.admin.call { client, options in try await client.status(.init(), options: options) })
    }

    /// The authority that `text` names by its first digits, or without it the only one in `state`.
    func authority(_ text: String?, in state: String) async throws -> String {
        let roots = try await status().authorities.filter { $0.kind == "root" }
        guard let text else {
            let candidates = roots.filter { $0.state == state }
            guard candidates.count == 1 else {
                throw CommandFailure(
                    candidates.isEmpty ? "no authority is \(state)" : "\(candidates.count) authorities are \(state)",
                    hint: candidates.isEmpty
                        ? "“culvert ca status” lists what there is"
                        : "name one: \(candidates.map(\.id).joined(separator: ", "))",
                    exitCode: RotationExit.refused)
            }
            return candidates[0].id
        }
        let named = roots.filter { $0.id.hasPrefix(text.lowercased()) }
        guard named.count == 1, text.utf8.count >= 4 else {
            throw CommandFailure(
                named.count > 1
                    ? "“\(text)” is the beginning of \(named.count) authorities" : "there is no authority \(text)",
                hint: "“culvert ca status” lists what there is; four digits or more name one",
                exitCode: RotationExit.refused)
        }
        return named[0].id
    }

    /// Makes the call, again and again while it is to wait.
    func run(
        _ command: Culvert_Authority_V1_RotationCommand, authority: String = "", reason: String? = nil,
        waiting: WaitOptions? = nil
    ) async throws -> Outcome {
        var request = Culvert_Authority_V1_RotateRequest()
        request.command = command
        request.authorityID = authority
        request.reason = reason ?? ""
        let end = ContinuousClock.now + (waiting?.timeout.value ?? .zero)
        var progress = RotationProgress()
        while true {
            let response = try await options.admin.call { [request] client, options in
                try await client.rotate(request, options: options)
            }
            let steps = response.steps.map { AuthorityReport.StepLine($0) }
            guard response.hasRefusal else { return Outcome(steps: steps) }
            let refusal = AuthorityReport.WaitLine(response.refusal)
            guard refusal.isWait else {
                throw CommandFailure(refusal.description, hint: refusal.hint, exitCode: RotationExit.refused)
            }
            guard waiting?.wait == true else {
                throw CommandFailure(
                    "not yet: \(refusal.description)", hint: refusal.hint, exitCode: RotationExit.waits)
            }
            guard .now < end else {
                throw CommandFailure(
                    "waited in vain: \(refusal.description)", hint: refusal.hint, exitCode: RotationExit.timedOut)
            }
            progress.waits(refusal)
            try await Task.sleep(for: Self.pause)
        }
    }

    /// Follows a rotation to its end, through restarts of the authority, too. `since` is the history's position at its beginning.
    func follow(since: UInt64, timeout: Duration) async throws -> Outcome {
        let end = ContinuousClock.now + timeout
        var progress = RotationProgress(printed: since)
        while true {
            var last: AuthorityReport.WaitLine?
            do {
                let report = try await status()
                let steps = report.history.filter { $0.position > since }.reversed() as [AuthorityReport.StepLine]
                for step in steps { progress.took(step) }
                guard report.rotation != nil else { return Outcome(steps: steps) }
                last = report.waiting
                if let last { progress.waits(last) }
            } catch let failure as CommandFailure {
                // It may be restarting; the rotation is in its journal.
                progress.says("the authority does not answer: \(failure.description)")
            }
            guard .now < end else {
                let what = last.map { ": \($0.description)" } ?? ""
                throw CommandFailure(
                    "the rotation has not ended\(what)",
                    hint: "it goes on by itself; “culvert ca rotate --resume” follows it again",
                    exitCode: RotationExit.timedOut)
            }
            try await Task.sleep(for: Self.pause)
        }
    }

    func print(_ outcome: Outcome) throws {
        let lines = outcome.steps.map { RotationProgress.text($0) + "\n" }
        Swift.print(try options.format.document?.text(outcome) ?? lines.joined(), terminator: "")
    }
}

/// Lines for whoever waits, each thing once.
struct RotationProgress {
    private var printed: UInt64 = 0
    private var said: String?

    init(printed: UInt64 = 0) { self.printed = printed }

    mutating func waits(_ wait: AuthorityReport.WaitLine) { says("waiting: \(wait.description)") }

    mutating func says(_ text: String) {
        guard said != text else { return }
        said = text
        StandardError.write(text + "\n")
    }

    mutating func took(_ step: AuthorityReport.StepLine) {
        guard step.position > printed else { return }
        printed = step.position
        said = nil
        StandardError.write("step \(step.position): \(Self.text(step))\n")
    }

    /// What became of it, in one line.
    static func text(_ step: AuthorityReport.StepLine) -> String {
        let id = step.authority ?? ""
        let text =
            switch step.step {
            case "started":
                step.emergency ? "emergency rotation \(step.position) has begun" : "rotation \(step.position) has begun"
            case "prepared": "authority \(id) is prepared, and in bundle \(step.bundleSequence)"
            case "activated": "authority \(id) signs from now on"
            case "tainted": "authority \(id) is tainted: its leaves are issued anew"
            case "revoked": "authority \(id) is revoked, and out of bundle \(step.bundleSequence)"
            case "expired": "authority \(id) has expired, and is out of bundle \(step.bundleSequence)"
            case "aborted": "authority \(id) is given up, and out of bundle \(step.bundleSequence)"
            case "finished": "the rotation has ended"
            default: step.step
            }
        let waived = step.notWaitedFor.map { " (without waiting: \($0))" } ?? ""
        let cutOff = step.cutOff.map { "; cut off: \($0.text)" } ?? ""
        return text + waived + cutOff
    }
}
