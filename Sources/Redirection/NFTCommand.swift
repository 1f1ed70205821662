import Glibc
import LinuxNetworking

/// nft(8), run in the calling thread's network namespace.
struct NFTCommand {
    private static let places = ["/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft"]

    let path: String
    let timeout: Duration

    /// Looks in the usual places unless told where.
    init(path: String?, timeout: Duration) throws(RedirectionError) {
        let candidates = path.map { [$0] } ?? NFTCommand.places
        guard let found = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw .nftMissing(searched: candidates)
        }
        self.path = found
        self.timeout = timeout
    }

    /// All of the text is one transaction.
    func apply(_ ruleset: String) throws(RedirectionError) {
        let result = try run(["-f", "-"], input: ruleset)
        guard result.status == 0 else { throw .nftFailed(status: result.status, message: oneLine(result.errors)) }
    }

    /// The table as nft prints it, without the counters' values; `nil` when there is none.
    func listing() throws(RedirectionError) -> String? { try list(["-s", "list", "table", "inet", NFTRuleset.table]) }

    /// Another table, besides without what its named sets hold.
    func listing(_ family: String, _ table: String) throws(RedirectionError) -> String? {
        try list(["-s", "-t", "list", "table", family, table])
    }

    /// With the counters' values.
    func counters(_ family: String = "inet", _ table: String = NFTRuleset.table) throws(RedirectionError) -> String? {
        try list(["list", "counters", "table", family, table])
    }

    private func list(_ arguments: [String]) throws(RedirectionError) -> String? {
        let result = try run(arguments, input: "")
        if result.status == 0 { return result.output }
        // ENOENT has no status of its own.
        if result.errors.contains("No such file or directory") { return nil }
        throw .nftFailed(status: result.status, message: oneLine(result.errors))
    }

    private func run(_ arguments: [String], input: String) throws(RedirectionError) -> ChildProcess.Output {
        do throws(Errno) {
            return try ChildProcess.run(path, arguments, input: input, timeout: timeout)
        } catch {
            throw error.code == ETIMEDOUT ? .nftTimedOut(after: timeout) : .kernel(error)
        }
    }
}
