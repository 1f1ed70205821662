import KubernetesKit
import Testing

@testable import culvert

/// How a container of `deploy/base` is started: its own arguments and environment, with the node's directories where the volumes
/// would be mounted.
struct ClusterManifest {
    private let pod: JSON
    private let container: JSON
    private let settings: JSON

    /// `file` has one DaemonSet or StatefulSet.
    init(_ file: String, container name: String) throws {
        let kinds = ["DaemonSet", "StatefulSet"]
        let documents = try Self.documents(file)
        pod = try #require(documents.first { kinds.contains($0["kind"].string ?? "") }).at("spec.template.spec")
        container = try #require(pod["containers"].array?.first { $0["name"].string == name })
        settings = try #require(try Self.documents("settings.yaml").first)["data"]
    }

    static func documents(_ file: String) throws -> [JSON] {
        let base = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        return try YAMLDocuments.read(try TextFile.read("/\(base)/deploy/base/\(file)"))
    }

    struct Command {
        var environment: [String: String]
        var arguments: [String]

        /// Gives an option another value, or one.
        mutating func set(_ option: String, _ value: String) {
            arguments.removeAll { $0.hasPrefix("--\(option)=") }
            arguments.append("--\(option)=\(value)")
        }
    }

    /// `node` is the container's; `directories` are by the names of its volumes, the others are the machine's own.
    func command(node: String, _ more: [String: String] = [:], directories: [String: String]) throws -> Command {
        var values = more
        for variable in container["env"].array ?? [] {
            let name = try #require(variable["name"].string)
            let key = variable.at("valueFrom.configMapKeyRef.key").string
            switch variable.at("valueFrom.fieldRef.fieldPath").string {
            case "spec.nodeName": values[name] = node
            case "metadata.namespace": values[name] = DemoCluster.home
            default:
                let setting = key.map { settings[$0] }
                values[name] = try #require(setting?.string)
            }
        }
        let mounts = (container["volumeMounts"].array ?? []).compactMap { mount -> (path: String, source: String)? in
            guard let path = mount["mountPath"].string, let name = mount["name"].string else { return nil }
            return directories[name].map { (path, $0) }
        }
        let arguments = try (container["args"].array ?? []).map { argument in
            var text = try #require(argument.string)
            for (name, value) in values { text.replace("$(\(name))", with: value) }
            #expect(!text.contains("$("), "nothing says what \(text) is")
            for (path, source) in mounts { text.replace("=\(path)", with: "=\(source)") }
            return text
        }
        return Command(environment: values, arguments: arguments)
    }
}
