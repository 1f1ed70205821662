public import SPIFFE

/// A node's name: what a Kubernetes node name may be, and a legal segment of a SPIFFE ID.
public struct NodeName: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let description: String

    public static let lengthMax = 253

    public init(_ name: String) throws(NodeNameError) {
        let bytes = name.utf8
        guard !bytes.isEmpty, bytes.count <= Self.lengthMax else { throw NodeNameError(name: name) }
        guard name != ".", name != "..", bytes.allSatisfy(Self.isAllowed) else { throw NodeNameError(name: name) }
        description = name
    }

    /// The node that `id` names, if it is one of `trustDomain`'s nodes.
    public init?(_ id: SPIFFEID, of trustDomain: TrustDomain) {
        guard id.trustDomain == trustDomain else { return nil }
        let prefix = "\(ReservedIdentity.nodePrefix)/"
        guard id.path.utf8.starts(with: prefix.utf8) else { return nil }
        guard let name = try? NodeName(String(id.path.dropFirst(prefix.count))) else { return nil }
        self = name
    }

    public static func < (lhs: NodeName, rhs: NodeName) -> Bool { lhs.description < rhs.description }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: return true
        default: return false
        }
    }
}

public struct NodeNameError: Error, Sendable, Equatable, CustomStringConvertible {
    public let name: String

    public var description: String {
        "“\(name.prefix(80))” is not a node name: letters, digits, '.', '-' and '_' only, at most \(NodeName.lengthMax)"
    }
}

/// The IDs that Culvert keeps to itself. None of them is ever issued to a pod.
public enum ReservedIdentity {
    public static let prefix = "/culvert"
    static let nodePrefix = "/culvert/node"

    /// The identity that the authority serves under.
    public static func authority(of trustDomain: TrustDomain) throws(SPIFFEIDError) -> SPIFFEID {
        try SPIFFEID(trustDomain: trustDomain, path: "/culvert/authority")
    }

    public static func node(_ name: NodeName, of trustDomain: TrustDomain) throws(SPIFFEIDError) -> SPIFFEID {
        try SPIFFEID(trustDomain: trustDomain, path: "\(nodePrefix)/\(name)")
    }

    public static func contains(_ id: SPIFFEID) -> Bool {
        let path = id.path.utf8
        return path.elementsEqual(prefix.utf8) || path.starts(with: "\(prefix)/".utf8)
    }
}
