/// A list of network plugins (CNI specification 1.1, section 1), edited with all bytes kept that are not the plugin's own.
public enum Conflist {
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
        init(_ description: String) { self.description = description }
    }

    /// With the plugin at the end of the list, once; nil when that is so already.
    public static func adding(_ settings: PluginSettings, to bytes: [UInt8]) throws(Problem) -> [UInt8]? {
        let text = try parse(bytes)
        let plugins = try plugins(of: text)
        guard plugins.contains(where: { !isOurs($0) }) else { throw Problem("its list has no plugin to stand behind") }
        if let last = plugins.last, isOurs(last), text.text(of: last) == settings.json,
            plugins.count(where: isOurs) == 1
        {
            return nil
        }
        if plugins.contains(where: isOurs), let without = try removing(from: bytes) {
            return try adding(settings, to: without)
        }
        let last = plugins[plugins.count - 1]
        var result = bytes
        result.insert(
            contentsOf: Array(",".utf8) + gap(text, plugins) + Array(settings.json.utf8), at: last.range.upperBound)
        return result
    }

    /// What stands between the elements, or before the only one.
    private static func gap(_ text: JSONText, _ plugins: [JSONText.Value]) -> [UInt8] {
        let start = plugins[plugins.count - 1].range.lowerBound
        var from = start
        while from > 0, " \n\r\t".utf8.contains(text.bytes[from - 1]) { from -= 1 }
        return Array(text.bytes[from..<start])
    }

    /// Without the plugin; nil when it is not there.
    public static func removing(from bytes: [UInt8]) throws(Problem) -> [UInt8]? {
        var result = bytes
        var isChanged = false
        while true {
            let text = try parse(result)
            let plugins = try plugins(of: text)
            guard let index = plugins.lastIndex(where: isOurs) else { return isChanged ? result : nil }
            isChanged = true
            switch index {
            case 1...: result.removeSubrange(plugins[index - 1].range.upperBound..<plugins[index].range.upperBound)
            case _ where plugins.count > 1:
                result.removeSubrange(plugins[0].range.lowerBound..<plugins[1].range.lowerBound)
            default: result.removeSubrange(plugins[0].range)
            }
        }
    }

    /// A list of a single plugin's configuration, as it is, and ours.
    public static func wrapping(_ bytes: [UInt8], _ settings: PluginSettings) throws(Problem) -> [UInt8] {
        let text = try parse(bytes)
        guard text.root["type"]?.string != nil, let name = text.root["name"]?.string else {
            throw Problem("it is no plugin's configuration: 'type' or 'name' is missing")
        }
        let version = text.root["cniVersion"]?.string ?? "0.3.1"
        let head = """
            {
              "cniVersion": \(JSONText.quoted(version)),
              "name": \(JSONText.quoted(name)),
              "plugins": [
                \(text.text(of: text.root)),
                \(settings.json)
              ]
            }

            """
        let result = Array(head.utf8)
        _ = try plugins(of: try parse(result))
        return result
    }

    private static func parse(_ bytes: [UInt8]) throws(Problem) -> JSONText {
        do throws(JSONText.Problem) { return try JSONText(bytes) } catch { throw Problem("it is no JSON: \(error)") }
    }

    private static func plugins(of text: JSONText) throws(Problem) -> [JSONText.Value] {
        guard let plugins = text.root["plugins"]?.elements else { throw Problem("it has no list of plugins") }
        if let version = text.root["cniVersion"] {
            guard let known = version.string, CNIRequest.versions.contains(known) else {
                throw Problem(
                    "its cniVersion \(text.text(of: version)) is not one of \(CNIRequest.versions.joined(separator: ", "))"
                )
            }
        }
        return plugins
    }

    private static func isOurs(_ plugin: JSONText.Value) -> Bool { plugin["type"]?.string == PluginSettings.type }
}
