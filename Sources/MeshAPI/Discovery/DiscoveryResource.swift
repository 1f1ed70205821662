import Crypto
import FoundationEssentials
import IPAddressing
public import MeshState
import SwiftProtobuf

/// One workload or service as the discovery server hands it out: name, version, and bytes that are the same for every client.
public struct DiscoveryResource: Hashable, Sendable {
    /// A workload's uid, or `namespace/hostname`.
    public let name: String
    /// Equal for equal content, across restarts too: a client that comes back with it is not sent the resource again.
    public let version: String
    let type: ResourceType
    /// The addresses that lead to it, by which clients may ask for it.
    let addresses: [IPAddress]
    /// An element of a response's `resources`, with its tag.
    let encoded: [UInt8]

    public init(_ workload: Workload) {
        self.init(
            name: workload.uid, .with { $0.workload = Istio_Workload_Workload(workload) },
            // A host-network pod's addresses are its node's.
            addresses: workload.usesHostNetwork ? [] : workload.addresses)
    }

    public init(_ service: Service) {
        self.init(
            name: service.name.description, .with { $0.service = Istio_Workload_Service(service) },
            addresses: service.addresses)
    }

    private init(name: String, _ address: Istio_Workload_Address, addresses: [IPAddress]) {
        self.init(name: name, message: address, type: .address, addresses: addresses)
    }

    init(name: String, message: some Message, type: ResourceType, addresses: [IPAddress] = []) {
        // Maps have no order of their own; without one, equal content would get two versions.
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        let body: [UInt8]
        do {
            body = try message.serializedBytes(options: options)
        } catch {
            // Only a message of more than 2 GiB does not serialise, and ours are bounded well below.
            preconditionFailure("\(name) does not serialise: \(error)")
        }
        self.init(
            name: name, version: DiscoveryResource.version(of: body), body: body, type: type, addresses: addresses)
    }

    /// The policy that workloads refer to that refuse plaintext.
    static let strictPolicy = DiscoveryResource(
        name: StrictPolicy.name, message: StrictPolicy.message, type: .authorization)

    init(name: String, version: String, body: [UInt8], type: ResourceType = .address, addresses: [IPAddress] = []) {
        self.name = name
        self.version = version
        self.type = type
        self.addresses = addresses
        encoded = WireWriter.encoded { response in
            response.message(2) { resource in
                resource.field(1, version.utf8)
                resource.message(2) { any in
                    any.field(1, type.url.utf8)
                    any.field(2, body)
                }
                resource.field(3, name.utf8)
            }
        }
    }

    /// 56 bits, which as text need no memory of their own.
    private static func version(of body: [UInt8]) -> String {
        SHA256.hash(data: body).prefix(7).map { byte in
            (byte < 0x10 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }
}
