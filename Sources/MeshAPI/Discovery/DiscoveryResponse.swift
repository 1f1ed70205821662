import GRPCCore

/// A `DeltaDiscoveryResponse` whose resources were encoded when they were published.
struct DiscoveryResponse: Sendable {
    let type: ResourceType
    let nonce: String
    let resources: [DiscoveryResource]
    let removals: [String]

    init(type: ResourceType, content: DeltaSubscription.Response) {
        self.type = type
        nonce = content.nonce
        resources = content.resources
        removals = content.removals
    }

    private var trailer: [UInt8] {
        WireWriter.encoded { writer in
            writer.field(4, type.url.utf8)
            writer.field(5, nonce.utf8)
            for name in removals { writer.field(6, name.utf8) }
        }
    }

    struct Serializer: MessageSerializer {
        func serialize<Bytes: GRPCContiguousBytes>(_ message: DiscoveryResponse) throws -> Bytes {
            let trailer = message.trailer
            var bytes = Bytes(
                repeating: 0, count: message.resources.reduce(trailer.count) { $0 + $1.encoded.count })
            bytes.withUnsafeMutableBytes { target in
                var offset = 0
                for part in message.resources.lazy.map(\.encoded) + CollectionOfOne(trailer) {
                    target[offset...].copyBytes(from: part)
                    offset += part.count
                }
            }
            return bytes
        }
    }
}
