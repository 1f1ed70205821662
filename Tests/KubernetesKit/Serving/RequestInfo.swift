internal import HTTPTypes

/// What a request asks for, read from its method, path and query as the real server's `RequestInfo` does.
struct RequestInfo: Sendable {
    let method: HTTPRequest.Method
    let path: String
    let query: [String: String]
    /// Group and version of a resource's path; nil for other paths, and for those of discovery.
    private(set) var groupVersion: (group: String, version: String)?
    private(set) var namespace = ""
    private(set) var resource = ""
    private(set) var name = ""
    private(set) var subresource = ""
    private(set) var verb: String

    var isResource: Bool { !resource.isEmpty }

    init(method: HTTPRequest.Method, target: String) {
        self.method = method
        let halves = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = Self.decoded(halves[0])
        var query: [String: String] = [:]
        for pair in halves.dropFirst().first?.split(separator: "&") ?? [] {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            query[Self.decoded(parts[0], plusIsSpace: true)] =
                parts.count > 1 ? Self.decoded(parts[1], plusIsSpace: true) : ""
        }
        self.query = query
        verb = method.rawValue.lowercased()
        readResource()
    }

    private mutating func readResource() {
        var parts = path.split(separator: "/").map(String.init)[...]
        switch parts.first {
        case "api" where parts.count > 2:
            groupVersion = ("", parts[1])
            parts = parts.dropFirst(2)
        case "apis" where parts.count > 3:
            groupVersion = (parts[1], parts[2])
            parts = parts.dropFirst(3)
        default: return
        }
        if parts.first == "namespaces", parts.count > 1 {
            namespace = parts[parts.startIndex + 1]
            let isOfNamespace = parts.count == 2 || (parts.count == 3 && ["status", "finalize"].contains(parts.last))
            if !isOfNamespace { parts = parts.dropFirst(2) }
        }
        resource = parts.popFirst() ?? ""
        name = parts.popFirst() ?? ""
        subresource = parts.joined(separator: "/")
        verb =
            switch method {
            case .get, .head: name.isEmpty ? (flag("watch") ? "watch" : "list") : "get"
            case .post: "create"
            case .put: "update"
            case .patch: "patch"
            case .delete: name.isEmpty ? "deletecollection" : "delete"
            default: method.rawValue.lowercased()
            }
    }

    var attributes: Attributes {
        guard isResource else { return Attributes(verb: verb, path: path) }
        var attributes = Attributes(verb: verb)
        attributes.group = groupVersion?.group ?? ""
        attributes.resource = resource
        attributes.subresource = subresource
        attributes.namespace = namespace
        attributes.name = name
        // A list of one name may be allowed by that name.
        if name.isEmpty, ["list", "watch", "deletecollection"].contains(verb),
            let field = query["fieldSelector"]?.split(separator: ",").first(where: { $0.hasPrefix("metadata.name=") })
        {
            attributes.name = String(field.drop { $0 != "=" }.drop { $0 == "=" })
        }
        return attributes
    }

    func flag(_ name: String) -> Bool { ["true", "1"].contains(query[name]) }

    private static func decoded(_ text: Substring, plusIsSpace: Bool = false) -> String {
        guard text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else {
            return String(text)
        }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte == UInt8(ascii: "+") && plusIsSpace ? 0x20 : byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
