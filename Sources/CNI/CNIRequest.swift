import Glibc
public import IPAddressing

/// What the container runtime asks: environment and standard input, read once (CNI specification 1.1, sections 2 and 3).
public struct CNIRequest: Hashable, Sendable {
    public enum Command: String, Sendable, CaseIterable {
        case add = "ADD"
        case delete = "DEL"
        case check = "CHECK"
        case collect = "GC"
        case status = "STATUS"
        case version = "VERSION"
    }

    /// Versions of the specification whose requests are understood.
    public static let versions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    public static let newestVersion = "1.1.0"
    /// The configuration is a few kilobytes, the attachments of a node's GC some ten.
    public static let inputMax = 1 << 20

    public let command: Command
    public let version: String
    /// Empty where the command has none: of GC, STATUS and VERSION; DEL may lack the namespace.
    public let container: String
    public let netns: String
    public let interface: String
    public let pod: Pod?
    public let settings: PluginSettings
    /// The bytes of `prevResult`, as they came.
    public let previousResult: [UInt8]?
    /// Those in it.
    public let addresses: [IPAddress]
    /// Of GC: the containers that are there.
    public let validContainers: Set<String>

    /// As the kubelet's runtime names it in CNI_ARGS.
    public struct Pod: Hashable, Sendable {
        public let namespace: String
        public let name: String
        /// Runtimes of before 2021 do not tell.
        public let uid: String?

        public init(namespace: String, name: String, uid: String?) {
            self.namespace = namespace
            self.name = name
            self.uid = uid
        }
    }

    /// The version to answer in, whatever else is wrong with the request.
    public static func version(ofInput input: [UInt8]) -> String {
        guard let text = try? JSONText(input), let version = text.root["cniVersion"]?.string,
            versions.contains(version)
        else { return newestVersion }
        return version
    }

    public init(environment: [String: String], input: [UInt8]) throws(CNIError) {
        guard let text = environment["CNI_COMMAND"], let command = Command(rawValue: text) else {
            throw CNIError(
                .invalidEnvironment, "CNI_COMMAND is \(environment["CNI_COMMAND"].map { "'\($0)'" } ?? "not set")",
                details: "one of \(Command.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        self.command = command
        let configuration = try CNIRequest.configuration(input, isRequired: command != .version)
        version = try CNIRequest.version(configuration)
        settings = try PluginSettings(configuration?.root)
        let isOfContainer = [.add, .delete, .check].contains(command)
        let needsNamespace = command == .add || command == .check
        container = try CNIRequest.variable(
            "CNI_CONTAINERID", environment, isRequired: isOfContainer, CNIRequest.isContainer)
        netns = try CNIRequest.variable("CNI_NETNS", environment, isRequired: needsNamespace, CNIRequest.isPath)
        interface = try CNIRequest.variable(
            "CNI_IFNAME", environment, isRequired: isOfContainer, CNIRequest.isInterface)
        pod = isOfContainer ? try CNIRequest.pod(environment["CNI_ARGS"] ?? "") : nil

        let previous = configuration?.root["prevResult"].flatMap { $0.isNull ? nil : $0 }
        if needsNamespace, previous == nil {
            throw CNIError(
                .invalidConfiguration, "there is no prevResult",
                details: "culvert-cni is to stand behind the plugin that makes the pod's network, in the same list")
        }
        previousResult = previous.flatMap { value in configuration.map { Array($0.bytes[value.range]) } }
        addresses = (previous?["ips"]?.elements ?? []).compactMap { entry in
            entry["address"]?.string.flatMap { IPAddress(String($0.prefix { $0 != "/" })) }
        }
        validContainers = Set(
            (configuration?.root["cni.dev/valid-attachments"]?.elements ?? []).compactMap { $0["containerID"]?.string })
        if command == .collect, configuration?.root["cni.dev/valid-attachments"]?.elements == nil {
            throw CNIError(.invalidConfiguration, "there is no cni.dev/valid-attachments")
        }
    }

    // MARK: - Reading

    private static func configuration(_ input: [UInt8], isRequired: Bool) throws(CNIError) -> JSONText? {
        if !isRequired, input.allSatisfy({ $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }) { return nil }
        do {
            let text = try JSONText(input)
            guard text.root.isObject else { throw JSONText.Problem(offset: 0, expected: "an object") }
            return text
        } catch {
            throw CNIError(.undecodable, "the network configuration cannot be read", details: "\(error)")
        }
    }

    private static func version(_ configuration: JSONText?) throws(CNIError) -> String {
        guard let value = configuration?.root["cniVersion"] else { return newestVersion }
        guard let version = value.string, versions.contains(version) else {
            throw CNIError(
                .incompatibleVersion, "cniVersion \(configuration?.text(of: value) ?? "") is not supported",
                details: "supported are \(versions.joined(separator: ", "))")
        }
        return version
    }

    private static func variable(
        _ name: String, _ environment: [String: String], isRequired: Bool, _ isValid: (String) -> Bool
    ) throws(CNIError) -> String {
        let value = environment[name] ?? ""
        if value.isEmpty, !isRequired { return "" }
        guard isValid(value) else {
            throw CNIError(.invalidEnvironment, "\(name) is \(value.isEmpty ? "not set" : "not valid: '\(value)'")")
        }
        return value
    }

    static func isContainer(_ text: String) -> Bool {
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 1024 else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
    }

    private static func isPath(_ text: String) -> Bool {
        text.hasPrefix("/") && text.utf8.count < 4096 && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
    }

    private static func isInterface(_ text: String) -> Bool {
        let isVisible = text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && !"/:".utf8.contains($0) }
        return (1...15).contains(text.utf8.count) && text != "." && text != ".." && isVisible
    }

    /// Of a namespace or a pod: what Kubernetes calls things by, which is also safe as the name of a file.
    static func isName(_ text: String) -> Bool {
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 253 else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || ".-_".utf8.contains($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    /// nil for a container that is no pod's.
    private static func pod(_ arguments: String) throws(CNIError) -> Pod? {
        var values: [Substring: String] = [:]
        for pair in arguments.split(separator: ";") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { values[parts[0]] = String(parts[1]) }
        }
        guard let namespace = values["K8S_POD_NAMESPACE"], let name = values["K8S_POD_NAME"] else { return nil }
        let uid = values["K8S_POD_UID"].flatMap { $0.isEmpty ? nil : $0 }
        guard isName(namespace), isName(name), uid.map(PodUID.isUsable) ?? true else {
            throw CNIError(.invalidEnvironment, "CNI_ARGS names no pod of Kubernetes: '\(arguments)'")
        }
        return Pod(namespace: namespace, name: name, uid: uid)
    }
}

/// What the plugin's own entry in the network configuration says.
public struct PluginSettings: Hashable, Sendable {
    /// The plugin's name in the configuration, and its executable's.
    public static let type = "culvert-cni"
    public static let standardRunDirectory = "/run/culvert"
    /// Where what a cluster cannot do without runs, and Culvert itself: their pods never wait for the agent.
    public static let standardExemptNamespaces = ["kube-system", "kube-public", "kube-node-lease"]

    /// The agent's, as the node sees it.
    public var runDirectory = PluginSettings.standardRunDirectory
    public var exemptNamespaces = PluginSettings.standardExemptNamespaces

    public init(
        runDirectory: String = standardRunDirectory, exemptNamespaces: [String] = standardExemptNamespaces
    ) {
        self.runDirectory = runDirectory
        self.exemptNamespaces = exemptNamespaces
    }

    init(_ configuration: JSONText.Value?) throws(CNIError) {
        if let value = configuration?["runDir"] {
            guard let path = value.string, path.hasPrefix("/") else {
                throw CNIError(.unsupportedField, "runDir is no absolute path")
            }
            runDirectory = path
        }
        if let value = configuration?["exemptNamespaces"] {
            guard let names = value.elements?.map(\.string), names.allSatisfy({ $0 != nil }) else {
                throw CNIError(.unsupportedField, "exemptNamespaces is no list of names")
            }
            exemptNamespaces = names.compactMap(\.self)
        }
    }

    /// As an element of a list of plugins.
    public var json: String {
        let names = exemptNamespaces.map(JSONText.quoted).joined(separator: ", ")
        return "{\"type\": \(JSONText.quoted(Self.type)), \"runDir\": \(JSONText.quoted(runDirectory)), "
            + "\"exemptNamespaces\": [\(names)]}"
    }

    /// Where the agent answers.
    public var socket: String { AgentFiles.socket(runDirectory) }
    public var notes: String { AgentFiles.notes(runDirectory) }
    public var enrolledNamespaces: String { AgentFiles.enrolledNamespaces(runDirectory) }
}

/// Where plugin and agent meet, below the agent's directory.
public enum AgentFiles {
    public static func socket(_ runDirectory: String) -> String { runDirectory + "/cni.sock" }
    /// A file `<uid>` for each pod, by the plugin.
    public static func notes(_ runDirectory: String) -> String { runDirectory + "/cni" }
    /// Made by the agent, root's only.
    public static func makeNotes(_ runDirectory: String) throws {
        let path = notes(runDirectory)
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw SmallFile.Problem(code: errno, call: "make \(path)")
        }
    }

    /// By the agent.
    public static func enrolledNamespaces(_ runDirectory: String) -> String { runDirectory + "/enrolled-namespaces" }
}
