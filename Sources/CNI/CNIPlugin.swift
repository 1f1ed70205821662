import Glibc

/// The plugin as a container runtime runs it, one process for each request: an enrolled pod's sandbox is ready only when its
/// connections are captured and guarded.
///
/// It changes nothing in the pod, and answers what the plugin before it has answered.
public enum CNIPlugin {
    /// Everything of one request, reading it included.
    static let limitMilliseconds: UInt64 = 4_800

    struct Output: Hashable {
        var text = ""
        var status: Int32 = 0
    }

    /// With the process's environment and standard input; writes the answer, and returns the exit status.
    public static func run() -> Int32 {
        let deadline = Deadline(in: limitMilliseconds)
        var environment: [String: String] = [:]
        for name in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"] {
            if let value = getenv(name) { environment[name] = String(cString: value) }
        }
        let output: Output
        do {
            output = answer(environment, try readInput(by: deadline), by: deadline)
        } catch {
            output = Output(text: error.json(version: CNIRequest.newestVersion), status: 1)
        }
        var bytes = Array(output.text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            guard count > 0 else { return 1 }
            bytes = bytes.dropFirst(count)
        }
        return output.status
    }

    private static func readInput(by deadline: Deadline) throws(CNIError) -> [UInt8] {
        var input: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            guard deadline.wait(for: STDIN_FILENO, POLLIN) else {
                throw CNIError(.io, "the network configuration did not arrive on standard input")
            }
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            guard count >= 0 else { throw CNIError(.io, "standard input cannot be read") }
            if count == 0 { return input }
            input += buffer[..<count]
            guard input.count <= CNIRequest.inputMax else {
                throw CNIError(.undecodable, "the network configuration has more than \(CNIRequest.inputMax) bytes")
            }
        }
    }

    static func answer(_ environment: [String: String], _ input: [UInt8], by deadline: Deadline) -> Output {
        do throws(CNIError) {
            return Output(text: try perform(try CNIRequest(environment: environment, input: input), deadline))
        } catch {
            // Whatever is wrong with it: the runtime would repeat it for ever, and the container stay.
            if environment["CNI_COMMAND"] == CNIRequest.Command.delete.rawValue { return Output() }
            return Output(text: error.json(version: CNIRequest.version(ofInput: input)), status: 1)
        }
    }

    private static func perform(_ request: CNIRequest, _ deadline: Deadline) throws(CNIError) -> String {
        let notes = request.settings.notes
        switch request.command {
        case .add:
            try admit(request, deadline)
            return String(decoding: request.previousResult ?? [], as: UTF8.self) + "\n"
        case .check:
            try check(request, deadline)
        case .delete:
            SandboxNote.remove(in: notes, uid: request.pod?.uid) { $0 == request.container }
        case .collect:
            SandboxNote.remove(in: notes) { !request.validContainers.contains($0) }
        case .status:
            try ask(SandboxQuestion(.status), request, deadline, .notAvailable)
        case .version:
            let versions = CNIRequest.versions.map(JSONText.quoted).joined(separator: ", ")
            return "{\"cniVersion\": \(JSONText.quoted(request.version)), \"supportedVersions\": [\(versions)]}\n"
        }
        return ""
    }

    /// Returns when the pod may start.
    private static func admit(_ request: CNIRequest, _ deadline: Deadline) throws(CNIError) {
        guard let sandbox = sandbox(of: request) else { return }
        var unnoted: String?
        do throws(SmallFile.Problem) {
            try sandbox.write(in: request.settings.notes)
        } catch {
            unnoted = "\(error)"
        }
        if request.settings.exemptNamespaces.contains(sandbox.pod.namespace) { return }
        do {
            try ask(SandboxQuestion(.add, sandbox), request, deadline, .tryAgainLater)
        } catch {
            throw CNIError(
                error.code, error.message,
                details: [error.details, unnoted ?? ""].filter { !$0.isEmpty }.joined(separator: "; "))
        }
    }

    private static func check(_ request: CNIRequest, _ deadline: Deadline) throws(CNIError) {
        guard let sandbox = sandbox(of: request),
            !request.settings.exemptNamespaces.contains(sandbox.pod.namespace)
        else { return }
        try ask(SandboxQuestion(.check, sandbox), request, deadline, .tryAgainLater)
    }

    private static func sandbox(of request: CNIRequest) -> SandboxNote? {
        request.pod.map {
            SandboxNote(
                netns: resolved(request.netns), container: request.container, pod: $0, addresses: request.addresses)
        }
    }

    /// Without links on the way, such as /var/run: the agent sees the same directories, and not the same links. The last part may be one of
    /// /proc's, which lead nowhere by name.
    private static func resolved(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex,
            let directory = realpath(String(path[..<slash]), nil)
        else { return path }
        defer { free(directory) }
        return String(cString: directory) + path[slash...]
    }

    private static func ask(
        _ question: SandboxQuestion, _ request: CNIRequest, _ deadline: Deadline, _ code: CNIError.Code
    ) throws(CNIError) {
        let answer: SandboxAnswer
        do throws(AgentCall.Failure) {
            answer = try AgentCall.ask(question, at: request.settings.socket, by: deadline)
        } catch {
            let known = EnrolledNamespaces.read(request.settings.enrolledNamespaces)
            guard let refusal = refusal(of: question, without: error, known) else { return }
            throw CNIError(code, refusal.message, details: refusal.details)
        }
        if case .refused(let reason) = answer {
            let pod = question.sandbox.map { "pod \($0.pod.namespace)/\($0.pod.name)" } ?? "this node"
            throw CNIError(code, "Culvert: \(pod) is not ready", details: reason)
        }
    }

    /// What is decided while no agent answers: closed where plaintext might leave, open where nobody asked for more; nil for open.
    static func refusal(
        of question: SandboxQuestion, without failure: AgentCall.Failure, _ known: EnrolledNamespaces?
    ) -> (message: String, details: String)? {
        guard let sandbox = question.sandbox else { return ("Culvert: \(failure)", "") }
        let namespace = sandbox.pod.namespace
        guard let known else {
            return (
                "Culvert: \(failure), and which namespaces are enrolled is not known since the node has started",
                "pod \(namespace)/\(sandbox.pod.name) starts when the agent has; namespaces in exemptNamespaces do not wait"
            )
        }
        guard known.names.contains(namespace) else { return nil }
        return (
            "Culvert: \(failure), and namespace \(namespace) is enrolled",
            "pod \(namespace)/\(sandbox.pod.name) starts when the agent is back: without it nobody could keep its plaintext in"
        )
    }
}
