import FoundationEssentials
public import IPAddressing
import SwiftProtobuf

extension DiscoveryResource {
    private static let rangesName = "mesh"

    /// All that the cluster gives pods and services their addresses from.
    public init(ranges: Set<IPPrefix>) {
        let sorted = ranges.sorted { $0.description < $1.description }
        let message = Culvert_Mesh_V1_AddressRanges.with {
            $0.ranges = sorted.map { prefix in
                .with {
                    $0.address = Data(prefix.address.bytes)
                    $0.length = UInt32(prefix.length)
                }
            }
        }
        self.init(name: Self.rangesName, message: message, type: .ranges)
    }
}

extension Set<IPPrefix> {
    init(addressRanges resource: Envoy_Service_Discovery_V3_Resource) throws(ResourceError) {
        let message: Culvert_Mesh_V1_AddressRanges
        do {
            message = try Culvert_Mesh_V1_AddressRanges(serializedBytes: resource.resource.value)
        } catch {
            throw ResourceError(resource.name, "resource.value", "is not a culvert.mesh.v1.AddressRanges")
        }
        try ResourceLimits.check(message.ranges.count, "ranges", of: resource.name, limit: ResourceLimits.ranges)
        self.init()
        for (index, range) in message.ranges.enumerated() {
            guard let address = IPAddress(bytes: range.address),
                let prefix = IPPrefix(address, length: Int(range.length))
            else { throw ResourceError(resource.name, "ranges[\(index)]", "is not an address and a length") }
            insert(prefix)
        }
    }
}
