/// The stand-in as a process of its own, which ends with this one.
public final class APIServerProcess: Sendable {
    public let kubeconfig: String
    private let process: ChildProcess

    public var pid: Int32 { process.pid }

    /// Listens when it returns.
    ///
    /// - Parameters:
    ///   - executable: `api-server-stand-in`.
    ///   - directory: where the administrator's kubeconfig is written.
    public static func start(
        _ executable: String, directory: String, arguments: [String] = []
    ) async throws -> APIServerProcess {
        let kubeconfig = directory + "/kubeconfig"
        let process = try ChildProcess([executable, "--kubeconfig", kubeconfig] + arguments)
        guard let first = try await process.line(), (try? JSON(parsing: first))?["ready"] == true else {
            await process.stop()
            throw Refusal.internalError("\(executable) did not begin to listen")
        }
        return APIServerProcess(kubeconfig, process)
    }

    private init(_ kubeconfig: String, _ process: ChildProcess) {
        (self.kubeconfig, self.process) = (kubeconfig, process)
    }

    /// Has a command carried out: one of those that `api-server-stand-in --help` names. Gives the answer.
    ///
    /// One at a time.
    @discardableResult
    public func command(_ text: String) async throws -> String {
        guard process.write(line: text), let answer = try await process.line() else {
            throw Refusal.internalError("the API server has ended: \(text)")
        }
        guard !answer.hasPrefix("error") else { throw Refusal.internalError("\(text): \(answer)") }
        return answer
    }

    public func stop() async { await process.stop() }
}
