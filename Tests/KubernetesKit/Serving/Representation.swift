/// How a client wants to see objects, from its `Accept` header.
enum Representation: Sendable {
    case whole
    /// Rows, as `kubectl get` prints them.
    case table
    /// `PartialObjectMetadata`: kind and metadata.
    case metadata

    /// The first of the accepted types that can be served; 406 where there is none.
    init(accept: String?) throws {
        guard let accept, !accept.isEmpty else {
            self = .whole
            return
        }
        for type in accept.split(separator: ",") {
            let parts = type.split(separator: ";").map { $0.filter { $0 != " " } }
            guard let media = parts.first, ["application/json", "*/*", "application/*"].contains(media) else {
                continue
            }
            let parameters = Set(parts.dropFirst())
            guard let form = parameters.first(where: { $0.hasPrefix("as=") }) else {
                self = .whole
                return
            }
            guard parameters.contains("g=meta.k8s.io"), parameters.contains("v=v1") else { continue }
            switch form {
            case "as=Table": self = .table
            case "as=PartialObjectMetadata", "as=PartialObjectMetadataList": self = .metadata
            default: continue
            }
            return
        }
        throw Refusal.notAcceptable
    }

    /// One object, as `get` and watch events answer it.
    func bytes(of object: StoredObject, _ resource: Resource, now: Double, withColumns: Bool = true) -> [UInt8] {
        switch self {
        case .whole: Self.named(Self.item(object, resource), kind: resource.kind, apiVersion: resource.apiVersion)
        case .metadata:
            Self.metadata(of: object, named: true).bytes
        case .table:
            Tables.table(
                of: [object], resource, resourceVersion: object.resourceVersion, now: now, withColumns: withColumns
            )
            .bytes
        }
    }

    /// A list: `metadata` has its version and how it goes on.
    func bytes(of objects: [StoredObject], _ resource: Resource, metadata: JSON, now: Double) -> [UInt8] {
        switch self {
        case .whole:
            let head: JSON = [
                "kind": .string(resource.kind + "List"), "apiVersion": .string(resource.apiVersion),
                "metadata": metadata,
            ]
            return Self.list(head, objects.map { Self.item($0, resource) })
        case .metadata:
            let head: JSON = [
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            ]
            return Self.list(head, objects.map { Self.metadata(of: $0, named: false).bytes })
        case .table:
            var table = Tables.table(of: objects, resource, resourceVersion: 0, now: now, withColumns: true)
            table["metadata"] = metadata
            return table.bytes
        }
    }

    private static func list(_ head: JSON, _ items: [[UInt8]]) -> [UInt8] {
        var out = Array(head.bytes.dropLast())
        out.reserveCapacity(out.count + items.reduce(16) { $0 + $1.count + 1 })
        out += ",\"items\":[".utf8
        for (index, item) in items.enumerated() {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            out += item
        }
        out += "]}".utf8
        return out
    }

    private static func item(_ object: StoredObject, _ resource: Resource) -> [UInt8] {
        guard resource == .events else { return object.bytes }
        var json = EventConversion.served(object.json, resource)
        json["kind"] = nil
        json["apiVersion"] = nil
        return json.bytes
    }

    private static func named(_ bare: [UInt8], kind: String, apiVersion: String) -> [UInt8] {
        Array("{\"kind\":\"\(kind)\",\"apiVersion\":\"\(apiVersion)\",".utf8) + bare.dropFirst()
    }

    static func metadata(of object: StoredObject, named: Bool) -> JSON {
        named
            ? ["kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.metadata]
            : ["metadata": object.metadata]
    }
}
