internal import FoundationEssentials
internal import Glibc

/// `kubectl` and `curl` as one user of one cluster, with a home of their own: clients that are not ours.
public final class Kubectl: Sendable {
    /// Where kubeconfig, caches and certificates are; removed with this object.
    public let directory: String
    private let environment: [String: String]

    /// As a user of the stand-in.
    public convenience init(
        _ server: APIServer, _ login: APIServer.Login = .administrator, namespace: String = "default"
    ) throws {
        try self.init(kubeconfig: try server.kubeconfig(login, namespace: namespace))
    }

    /// - Parameter kubeconfig: its text.
    public init(kubeconfig: String) throws {
        directory = try Subprocess.makeDirectory()
        environment = [
            "HOME": directory, "KUBECONFIG": directory + "/kubeconfig", "PATH": Subprocess.path, "LC_ALL": "C.UTF-8",
        ]
        try Data(kubeconfig.utf8).write(to: URL(filePath: directory + "/kubeconfig"))
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// Whether there is a `kubectl` to be run.
    public static var isInstalled: Bool {
        Subprocess.path.split(separator: ":").contains { access("\($0)/kubectl", X_OK) == 0 }
    }

    @discardableResult
    public func callAsFunction(_ arguments: String..., input: String = "", seconds: Int = 60) async throws
        -> ProcessOutput
    {
        try await run(["kubectl"] + arguments, input: input, seconds: seconds)
    }

    /// The second number of kubectl's own version: 32, or Debian's 20.
    public var minorVersion: Int {
        get async throws {
            let text = try await run(["kubectl", "version", "--client", "-o", "json"]).json.at("clientVersion.minor")
                .string
            return Int((text ?? "").prefix { $0.isNumber }) ?? 0
        }
    }

    public func run(_ words: [String], input: String = "", seconds: Int = 60) async throws -> ProcessOutput {
        try await Subprocess.run(
            ["/usr/bin/env"] + words, environment: environment, input: input, directory: directory, seconds: seconds)
    }

    // MARK: By hand

    public struct Reply: Sendable {
        public let code: Int
        /// Names in lower case.
        public let headers: [String: String]
        public let body: String
        public var json: JSON { (try? JSON(parsing: body)) ?? .null }
        public var reason: String? { json["reason"].string }
        public var message: String { json["message"].string ?? "" }
    }

    /// One request of HTTP with this user's credentials; what has come after `seconds` is the reply.
    public func request(
        _ method: String, _ path: String, body: JSON? = nil, text: String? = nil,
        contentType: String = "application/json",
        accept: String = "application/json", headers: [String] = [], seconds: Int = 30
    ) async throws -> Reply {
        var words = try await curl() + ["--max-time", String(seconds), "-i", "-X", method, "-H", "Accept: \(accept)"]
        let text = text ?? body?.text
        if text != nil { words += ["-H", "Content-Type: \(contentType)", "--data-binary", "@-"] }
        for header in headers { words += ["-H", header] }
        let output = try await run(words + [try await server() + path], input: text ?? "")
        return Self.reply(output.output)
    }

    /// The first events of a watch; fewer where it ends before.
    public func watch(_ path: String, first count: Int, seconds: Int = 20) async throws -> [JSON] {
        let words = try await curl() + ["-N", try await server() + path]
        let command = words.map { "'\($0)'" }.joined(separator: " ")
        // The watch itself may go on: it ends with its time or the server.
        let output = try await run(["bash", "-c", "head -n \(count) < <(\(command))"], seconds: seconds)
        return output.output.split(separator: "\n").compactMap { try? JSON(parsing: String($0)) }
    }

    private static func reply(_ text: String) -> Reply {
        let text = text.replacing("\r\n", with: "\n")
        var rest = text[...]
        var code = 0
        var headers: [String: String] = [:]
        // Interim responses come first.
        while rest.hasPrefix("HTTP/") {
            let end = rest.firstRange(of: "\n\n")
            let head = rest[..<(end?.lowerBound ?? rest.endIndex)]
            rest = end.map { rest[$0.upperBound...] } ?? ""
            let lines = head.split(separator: "\n")
            code = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            headers = [:]
            for line in lines.dropFirst() {
                guard let colon = line.firstIndex(of: ":") else { continue }
                headers[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
            }
        }
        return Reply(code: code, headers: headers, body: String(rest))
    }

    /// As kubectl itself reads the file.
    private func configuration() async throws -> JSON {
        try await run(["kubectl", "config", "view", "--raw", "--flatten", "--minify", "-o", "json"]).json
    }

    private func server() async throws -> String {
        try await prepare()
        return try String(contentsOfFile: directory + "/server", encoding: .utf8)
    }

    private func curl() async throws -> [String] {
        try await prepare()
        var words = ["curl", "-s", "--cacert", directory + "/ca"]
        if access(directory + "/certificate", R_OK) == 0 {
            words += ["--cert", directory + "/certificate", "--key", directory + "/key"]
        }
        if let token = try? String(contentsOfFile: directory + "/token", encoding: .utf8) {
            words += ["-H", "Authorization: Bearer \(token)"]
        }
        return words
    }

    /// Puts what curl needs into files, once.
    private func prepare() async throws {
        guard access(directory + "/server", R_OK) != 0 else { return }
        let configuration = try await configuration()
        let user = configuration["users"][0]["user"]
        let cluster = configuration["clusters"][0]["cluster"]
        func write(_ bytes: [UInt8]?, _ name: String) throws {
            if let bytes { try Data(bytes).write(to: URL(filePath: directory + "/" + name)) }
        }
        try write(cluster["certificate-authority-data"].string.flatMap { Base64.bytes($0) }, "ca")
        try write(user["client-certificate-data"].string.flatMap { Base64.bytes($0) }, "certificate")
        try write(user["client-key-data"].string.flatMap { Base64.bytes($0) }, "key")
        try write(user["token"].string.map { Array($0.utf8) }, "token")
        try write(cluster["server"].string.map { Array($0.utf8) }, "server")
    }
}
