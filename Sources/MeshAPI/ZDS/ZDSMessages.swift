import SwiftProtobuf

/// What the agent tells of a pod, besides its network namespace.
public struct ZDSWorkloadInfo: Hashable, Sendable {
    public let name: String
    public let namespace: String
    public let serviceAccount: String

    public init(name: String, namespace: String, serviceAccount: String) {
        self.name = name
        self.namespace = namespace
        self.serviceAccount = serviceAccount
    }
}

/// Agent to proxy, one at a time.
enum ZDSRequest: Hashable, Sendable {
    /// Travels with the descriptor of the pod's network namespace.
    case add(uid: String, ZDSWorkloadInfo)
    case delete(uid: String)
    case keep(uid: String)
    case snapshotSent
}

/// Why the other side of a ZDS connection is not understood.
public enum ZDSError: Error, Hashable, Sendable, CustomStringConvertible {
    /// In bytes; the limit is `ZDSMessage.bytesMax`.
    case tooLong(Int)
    /// Not the protobuf message that is due.
    case malformed(String)
    case unsupportedVersion(Int)
    case missing(String)
    case unexpected(String)

    public var description: String {
        switch self {
        case .tooLong(let count): "a ZDS message of \(count) bytes; at most \(ZDSMessage.bytesMax) are allowed"
        case .malformed(let message): "the packet is not a \(message)"
        case .unsupportedVersion(let version): "ZDS version \(version) is not supported; only 1 is"
        case .missing(let part): "\(part) is missing"
        case .unexpected(let event): event
        }
    }
}

/// ZDS messages as packets: one protobuf message each, without a length, as istio-cni and ztunnel write them.
enum ZDSMessage {
    /// In bytes: both ends of Istio's implementation have buffers of this size.
    static let bytesMax = 1024

    static func hello() throws(ZDSError) -> [UInt8] {
        try encode(Istio_Workload_Zds_ZdsHello.with { $0.version = .v1 })
    }

    static func checkHello(_ packet: [UInt8]) throws(ZDSError) {
        let hello: Istio_Workload_Zds_ZdsHello = try decode(packet, "ZdsHello")
        guard hello.version == .v1 else { throw .unsupportedVersion(hello.version.rawValue) }
    }

    static func encode(_ request: ZDSRequest) throws(ZDSError) -> [UInt8] {
        var message = Istio_Workload_Zds_WorkloadRequest()
        switch request {
        case .add(let uid, let info):
            message.add = .with {
                $0.uid = uid
                $0.workloadInfo = .with {
                    $0.name = info.name
                    $0.namespace = info.namespace
                    $0.serviceAccount = info.serviceAccount
                }
            }
        case .delete(let uid): message.del = .with { $0.uid = uid }
        case .keep(let uid): message.keep = .with { $0.uid = uid }
        case .snapshotSent: message.snapshotSent = Istio_Workload_Zds_SnapshotSent()
        }
        return try encode(message)
    }

    static func decodeRequest(_ packet: [UInt8]) throws(ZDSError) -> ZDSRequest {
        let message: Istio_Workload_Zds_WorkloadRequest = try decode(packet, "WorkloadRequest")
        switch message.payload {
        case .add(let add):
            guard add.hasWorkloadInfo else { throw .missing("workload_info of AddWorkload") }
            let info = add.workloadInfo
            return .add(
                uid: try required(add.uid, "uid of AddWorkload"),
                ZDSWorkloadInfo(
                    name: try required(info.name, "name of AddWorkload"),
                    namespace: try required(info.namespace, "namespace of AddWorkload"),
                    serviceAccount: try required(info.serviceAccount, "service_account of AddWorkload")))
        case .del(let delete): return .delete(uid: try required(delete.uid, "uid of DelWorkload"))
        case .keep(let keep): return .keep(uid: try required(keep.uid, "uid of KeepWorkload"))
        case .snapshotSent: return .snapshotSent
        case nil: throw .missing("the payload of WorkloadRequest")
        }
    }

    private static func required(_ text: String, _ field: String) throws(ZDSError) -> String {
        guard !text.isEmpty else { throw .missing(field) }
        // Names are keys: two that differ in bytes must not be equal as Swift's strings.
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .unexpected("\(field) holds a byte that is not visible ASCII")
        }
        return text
    }

    /// `error` nil: done. A text that does not fit a packet is shortened.
    static func acknowledgement(error: String?) throws(ZDSError) -> [UInt8] {
        // An empty text would mean success; 8 bytes for the tags and lengths around it.
        let text = error.map { $0.isEmpty ? "failed" : $0.shortened(to: bytesMax - 8) }
        return try encode(Istio_Workload_Zds_WorkloadResponse.with { $0.ack = .with { $0.error = text ?? "" } })
    }

    /// The error that was acknowledged; nil for success.
    static func decodeAcknowledgement(_ packet: [UInt8]) throws(ZDSError) -> String? {
        let message: Istio_Workload_Zds_WorkloadResponse = try decode(packet, "WorkloadResponse")
        guard case .ack(let ack) = message.payload else { throw .missing("the payload of WorkloadResponse") }
        return ack.error.isEmpty ? nil : ack.error
    }

    private static func encode(_ message: some Message) throws(ZDSError) -> [UInt8] {
        let packet: [UInt8]
        do {
            packet = try message.serializedBytes()
        } catch {
            throw .malformed(type(of: message).protoMessageName)
        }
        guard packet.count <= bytesMax else { throw .tooLong(packet.count) }
        return packet
    }

    private static func decode<M: Message>(_ packet: [UInt8], _ name: String) throws(ZDSError) -> M {
        guard packet.count <= bytesMax else { throw .tooLong(packet.count) }
        do {
            return try M(serializedBytes: packet)
        } catch {
            throw .malformed(name)
        }
    }
}
