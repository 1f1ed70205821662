/// Bodies in Kubernetes' protobuf, `application/vnd.kubernetes.protobuf`: what kubectl 1.32 sends where it uses Go's types.
///
/// Only requests, and only of the kinds in `messages`; answers are always JSON, which such clients accept, too. Field numbers are
/// those of the `generated.proto` files beside the real server's types.
enum ProtobufBody {
    static let contentType = "application/vnd.kubernetes.protobuf"
    private static let magic: [UInt8] = [0x6B, 0x38, 0x73, 0]

    private indirect enum Shape: Sendable {
        case string, bytes, integer, boolean, time
        case list(Shape)
        case map(Shape)
        case message(String)
    }

    private struct Malformed: Error {}

    /// `Type: number=field:shape`; `s` string, `y` bytes, `i` integer, `b` boolean, `t` time.
    private static let text = """
        ObjectMeta: 1=name:s 2=generateName:s 3=namespace:s 5=uid:s 6=resourceVersion:s 8=creationTimestamp:t 11=labels:{s} 12=annotations:{s} 14=finalizers:[s]
        ObjectReference: 1=kind:s 2=namespace:s 3=name:s 4=uid:s 5=apiVersion:s
        LocalObjectReference: 1=name:s
        Namespace: 1=metadata:ObjectMeta
        ConfigMap: 1=metadata:ObjectMeta 2=data:{s} 3=binaryData:{y} 4=immutable:b
        Secret: 1=metadata:ObjectMeta 2=data:{y} 3=type:s 4=stringData:{s} 5=immutable:b
        ServiceAccount: 1=metadata:ObjectMeta 2=secrets:[ObjectReference] 3=imagePullSecrets:[LocalObjectReference] 4=automountServiceAccountToken:b
        Role: 1=metadata:ObjectMeta 2=rules:[PolicyRule]
        ClusterRole: 1=metadata:ObjectMeta 2=rules:[PolicyRule]
        PolicyRule: 1=verbs:[s] 2=apiGroups:[s] 3=resources:[s] 4=resourceNames:[s] 5=nonResourceURLs:[s]
        RoleBinding: 1=metadata:ObjectMeta 2=subjects:[Subject] 3=roleRef:RoleRef
        ClusterRoleBinding: 1=metadata:ObjectMeta 2=subjects:[Subject] 3=roleRef:RoleRef
        Subject: 1=kind:s 2=apiGroup:s 3=name:s 4=namespace:s
        RoleRef: 1=apiGroup:s 2=kind:s 3=name:s
        TokenRequest: 1=metadata:ObjectMeta 2=spec:TokenRequestSpec
        TokenRequestSpec: 1=audiences:[s] 3=boundObjectRef:BoundObjectReference 4=expirationSeconds:i
        BoundObjectReference: 1=kind:s 2=apiVersion:s 3=name:s 4=uid:s
        TokenReview: 1=metadata:ObjectMeta 2=spec:TokenReviewSpec
        TokenReviewSpec: 1=token:s 2=audiences:[s]
        SelfSubjectReview: 1=metadata:ObjectMeta
        SelfSubjectAccessReview: 1=metadata:ObjectMeta 2=spec:AccessReviewSpec
        SubjectAccessReview: 1=metadata:ObjectMeta 2=spec:AccessReviewSpec
        AccessReviewSpec: 1=resourceAttributes:ResourceAttributes 2=nonResourceAttributes:NonResourceAttributes 3=user:s 4=groups:[s]
        ResourceAttributes: 1=namespace:s 2=verb:s 3=group:s 4=version:s 5=resource:s 6=subresource:s 7=name:s
        NonResourceAttributes: 1=path:s 2=verb:s
        SelfSubjectRulesReview: 1=metadata:ObjectMeta 2=spec:RulesReviewSpec
        RulesReviewSpec: 1=namespace:s
        Eviction: 1=metadata:ObjectMeta 2=deleteOptions:DeleteOptions
        DeleteOptions: 1=gracePeriodSeconds:i 2=preconditions:Preconditions 4=propagationPolicy:s 5=dryRun:[s]
        Preconditions: 1=uid:s 2=resourceVersion:s
        """

    private static let messages: [String: [Int: (name: String, shape: Shape)]] = {
        var messages: [String: [Int: (String, Shape)]] = [:]
        for line in text.split(separator: "\n") {
            let halves = line.split(separator: ":", maxSplits: 1)
            for field in halves[1].split(separator: " ") {
                let parts = field.split { $0 == "=" || $0 == ":" }
                messages[String(halves[0]), default: [:]][Int(parts[0]) ?? 0] = (String(parts[1]), shape(parts[2]))
            }
        }
        return messages
    }()

    private static func shape(_ text: Substring) -> Shape {
        switch text {
        case "s": .string
        case "y": .bytes
        case "i": .integer
        case "b": .boolean
        case "t": .time
        case _ where text.hasPrefix("["): .list(shape(text.dropFirst().dropLast()))
        case _ where text.hasPrefix("{"): .map(shape(text.dropFirst().dropLast()))
        default: .message(String(text))
        }
    }

    /// The object; nil for kinds that are not in the list.
    static func object(_ body: [UInt8]) throws -> JSON? {
        do {
            guard body.starts(with: magic) else { throw Malformed() }
            var type = JSON.object([:])
            var raw: ArraySlice<UInt8> = []
            try fields(of: body[magic.count...]) { number, _, bytes in
                if number == 1 {
                    try fields(of: bytes) { inner, _, bytes in
                        type[inner == 1 ? "apiVersion" : "kind"] = .string(String(decoding: bytes, as: UTF8.self))
                    }
                } else if number == 2 {
                    raw = bytes
                }
            }
            let kind = type["kind"].string ?? ""
            guard messages[kind] != nil else { return nil }
            var object = try message(raw, kind)
            object["apiVersion"] = type["apiVersion"]
            object["kind"] = type["kind"]
            return object
        } catch is Malformed {
            throw Refusal.badRequest("the protobuf body cannot be read")
        }
    }

    private static func message(_ bytes: ArraySlice<UInt8>, _ type: String) throws -> JSON {
        let known = messages[type] ?? [:]
        var object: [String: JSON] = [:]
        try fields(of: bytes) { number, value, bytes in
            guard let (name, shape) = known[number] else { return }
            switch shape {
            case .list(let element):
                object[name] = .array((object[name]?.array ?? []) + [try read(element, value, bytes)])
            case .map(let element):
                var key = ""
                var entry = JSON.string("")
                try fields(of: bytes) { part, value, bytes in
                    if part == 1 {
                        key = String(decoding: bytes, as: UTF8.self)
                    } else {
                        entry = try read(element, value, bytes)
                    }
                }
                var members = object[name]?.object ?? [:]
                members[key] = entry
                object[name] = .object(members)
            default:
                // Go's encoder writes empty strings, too; they mean that there is none.
                let read = try read(shape, value, bytes)
                if read != "", read != .null, read != false { object[name] = read }
            }
        }
        return .object(object)
    }

    private static func read(_ shape: Shape, _ value: UInt64, _ bytes: ArraySlice<UInt8>) throws -> JSON {
        switch shape {
        case .string: return .string(String(decoding: bytes, as: UTF8.self))
        case .bytes: return .string(Base64.text(Array(bytes)))
        case .integer: return .integer(Int(truncatingIfNeeded: value))
        case .boolean: return .bool(value != 0)
        case .message(let type): return try message(bytes, type)
        case .time:
            var seconds = 0
            try fields(of: bytes) { number, value, _ in if number == 1 { seconds = Int(truncatingIfNeeded: value) } }
            return seconds == 0 ? JSON.null : .string(Timestamps.text(seconds: Double(seconds)))
        case .list, .map: throw Malformed()
        }
    }

    /// Hands out each field: its number, its value where it is a number, its bytes where it has a length.
    private static func fields(
        of bytes: ArraySlice<UInt8>, _ body: (Int, UInt64, ArraySlice<UInt8>) throws -> Void
    ) throws {
        var rest = bytes
        while !rest.isEmpty {
            let tag = try varint(&rest)
            let number = Int(truncatingIfNeeded: tag >> 3)
            switch tag & 7 {
            case 0: try body(number, try varint(&rest), [])
            case 1: try body(number, 0, try take(8, &rest))
            case 2:
                guard let length = Int(exactly: try varint(&rest)) else { throw Malformed() }
                try body(number, 0, try take(length, &rest))
            case 5: try body(number, 0, try take(4, &rest))
            default: throw Malformed()
            }
        }
    }

    private static func take(_ count: Int, _ rest: inout ArraySlice<UInt8>) throws -> ArraySlice<UInt8> {
        guard count >= 0, count <= rest.count else { throw Malformed() }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    private static func varint(_ rest: inout ArraySlice<UInt8>) throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = rest.popFirst() else { throw Malformed() }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        throw Malformed()
    }
}
