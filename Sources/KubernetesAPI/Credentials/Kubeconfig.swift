import FoundationEssentials
import Yams

/// One or several kubeconfig files (`v1.Config`), merged as kubectl merges them: the first file that names something has its say.
struct Kubeconfig {
    private struct Entry {
        let node: Yams.Node
        /// The file it stands in, to whose directory its relative paths belong.
        let path: String
    }

    private var currentContext: String?
    private var clusters: [String: Entry] = [:]
    private var users: [String: Entry] = [:]
    private var contexts: [String: Entry] = [:]
    private let origin: String

    init(paths: [String]) throws(ClusterConfigurationError) {
        origin = paths.joined(separator: ":")
        for path in paths { try merge(path) }
    }

    /// The contexts' names, sorted.
    var contextNames: [String] { contexts.keys.sorted() }

    /// What the context says, or the current one.
    func configuration(
        context name: String?, allowsInsecure: Bool
    ) throws(ClusterConfigurationError) -> ClusterConfiguration {
        let name = name ?? currentContext ?? ""
        guard let context = contexts[name] else { throw .unknownContext(name, known: contextNames) }
        guard let clusterName = Self.text(context.node, "cluster"), let cluster = clusters[clusterName] else {
            throw .malformed(path: context.path, reason: "context “\(name)” names no cluster that there is")
        }
        guard let server = Self.text(cluster.node, "server"),
            server.hasPrefix("https://") || server.hasPrefix("http://")
        else {
            throw .malformed(path: cluster.path, reason: "cluster “\(clusterName)” has no https server")
        }
        var configuration = ClusterConfiguration(server: server.last == "/" ? String(server.dropLast()) : server)
        configuration.origin = "context “\(name)” of \(origin)"
        configuration.namespace = Self.text(context.node, "namespace") ?? "default"
        configuration.serverName = Self.text(cluster.node, "tls-server-name")
        configuration.authorities = try material(cluster, "certificate-authority")
        guard Self.text(cluster.node, "proxy-url") == nil else {
            throw .unsupported("\(cluster.path): cluster “\(clusterName)” has a proxy-url, which is not supported")
        }
        if Self.text(cluster.node, "insecure-skip-tls-verify") == "true" {
            guard allowsInsecure else { throw .insecure }
            configuration.verifiesServer = false
        }
        if let userName = Self.text(context.node, "user") {
            guard let user = users[userName] else {
                throw .malformed(path: context.path, reason: "context “\(name)” names the unknown user “\(userName)”")
            }
            try apply(user, named: userName, to: &configuration)
        }
        return configuration
    }

    private func apply(
        _ user: Entry, named name: String, to configuration: inout ClusterConfiguration
    ) throws(ClusterConfigurationError) {
        for plugin in ["exec", "auth-provider"] where user.node.mapping?[Yams.Node(plugin)] != nil {
            throw .unsupported(
                """
                \(user.path): user “\(name)” gets credentials from a plugin (\(plugin)), which is not run here; use a token, a tokenFile or a \
                client certificate (kubectl create token makes a token)
                """)
        }
        guard Self.text(user.node, "username") == nil else {
            throw .unsupported("\(user.path): user “\(name)” has a password, which API servers no longer take")
        }
        configuration.clientCertificate = try material(user, "client-certificate")
        configuration.clientKey = try material(user, "client-key")
        guard (configuration.clientCertificate == nil) == (configuration.clientKey == nil) else {
            throw .malformed(
                path: user.path, reason: "user “\(name)” needs client-certificate and client-key, or neither")
        }
        // A file wins, as in client-go.
        if let file = Self.text(user.node, "tokenFile") {
            configuration.token = .file(Self.resolved(file, beside: user.path))
        } else if let token = Self.text(user.node, "token") {
            configuration.token = .text(token)
        }
    }

    /// `name-data`, else the file of `name`.
    private func material(
        _ entry: Entry, _ name: String
    ) throws(ClusterConfigurationError) -> ClusterConfiguration.Material? {
        if let encoded = Self.text(entry.node, name + "-data") {
            guard let data = Data(base64Encoded: encoded, options: .ignoreUnknownCharacters), !data.isEmpty else {
                throw .malformed(path: entry.path, reason: "\(name)-data is not base64")
            }
            return .bytes(Array(data))
        }
        return Self.text(entry.node, name).map { .file(Self.resolved($0, beside: entry.path)) }
    }

    private mutating func merge(_ path: String) throws(ClusterConfigurationError) {
        let text = try LocalFile.text(path)
        let root: Yams.Node?
        do { root = try Yams.compose(yaml: text) } catch { throw .malformed(path: path, reason: "\(error)") }
        // An empty file says nothing.
        guard let root else { return }
        guard root.mapping != nil else { throw .malformed(path: path, reason: "it is not a kubeconfig") }
        if currentContext == nil { currentContext = Self.text(root, "current-context") }
        try merge(root, "clusters", "cluster", path, into: &clusters)
        try merge(root, "users", "user", path, into: &users)
        try merge(root, "contexts", "context", path, into: &contexts)
    }

    private func merge(
        _ root: Yams.Node, _ list: String, _ content: String, _ path: String, into entries: inout [String: Entry]
    ) throws(ClusterConfigurationError) {
        guard let node = root.mapping?[Yams.Node(list)], node.tag.rawValue != Tag.Name.null.rawValue else { return }
        guard let elements = node.sequence else { throw .malformed(path: path, reason: "\(list) is not a list") }
        for element in elements {
            guard let name = Self.text(element, "name") else {
                throw .malformed(path: path, reason: "an entry of \(list) has no name")
            }
            if entries[name] == nil, let node = element.mapping?[Yams.Node(content)] {
                entries[name] = Entry(node: node, path: path)
            }
        }
    }

    /// A scalar that is there and not empty.
    private static func text(_ node: Yams.Node, _ key: String) -> String? {
        guard let scalar = node.mapping?[Yams.Node(key)]?.scalar, !scalar.string.isEmpty,
            scalar.tag.rawValue != Tag.Name.null.rawValue
        else { return nil }
        return scalar.string
    }

    private static func resolved(_ file: String, beside path: String) -> String {
        guard file.first != "/", let slash = path.lastIndex(of: "/") else { return file }
        return String(path[...slash]) + file
    }
}
