import Crypto
import FoundationEssentials
public import MeshState
import SwiftProtobuf

/// One workload or service as the discovery server hands it out: name, version, bytes.
public struct DiscoveryResource: Hashable, Sendable {
    /// A workload's uid, or `namespace/hostname`.
    public let name: String
    /// Equal for equal content, across restarts too: a client that comes back with it is not sent the resource again.
    public let version: String
    /// The serialised `istio.workload.Address`, or what `type` says.
    let body: Data
    let type: String
    /// A workload that refers to `strictPolicy`.
    private(set) var isStrict = false

    public init(_ workload: Workload) {
        self.init(name: workload.uid, .with { $0.workload = Istio_Workload_Workload(workload) })
        isStrict = workload.refusesPlaintext
    }

    public init(_ service: Service) {
        self.init(name: service.name.description, .with { $0.service = Istio_Workload_Service(service) })
    }

    private init(name: String, _ address: Istio_Workload_Address) {
        self.init(name: name, message: address, type: ResourceType.address)
    }

    private init(name: String, message: some Message, type: String) {
        // Maps have no order of their own; without one, equal content would get two versions.
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        let body: Data
        do {
            body = try message.serializedBytes(options: options)
        } catch {
            // Only a message of more than 2 GiB does not serialise, and ours are bounded well below.
            preconditionFailure("\(name) does not serialise: \(error)")
        }
        self.init(name: name, version: DiscoveryResource.version(of: body), body: body, type: type)
    }

    /// For workloads that refuse plaintext.
    static let strictPolicy = DiscoveryResource(
        name: StrictPolicy.name, message: StrictPolicy.message, type: ResourceType.authorization)

    init(name: String, version: String, body: Data, type: String = ResourceType.address) {
        self.type = type
        self.name = name
        self.version = version
        self.body = body
    }

    private static func version(of body: Data) -> String {
        SHA256.hash(data: body).prefix(8).map { byte in
            (byte < 0x10 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    var message: Envoy_Service_Discovery_V3_Resource {
        .with {
            $0.name = name
            $0.version = version
            $0.resource.typeURL = type
            $0.resource.value = body
        }
    }
}
