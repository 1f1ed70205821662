import MeshState
import SPIFFE
import SwiftProtobuf

/// What a discovery client holds, and how it answers each response (delta xDS). A value without I/O.
///
/// It outlives streams: on the next one it names the versions it holds, so that only differences are sent.
struct DeltaClientState {
    /// Bounds what a server can make the proxy remember.
    static let resourcesMax = 500_000
    /// How many refused resources a refusal names.
    static let namedRefusalsMax = 20

    /// The update to apply, and the answer to send when that is done.
    struct Outcome {
        var update = MeshUpdate()
        var reply: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest
        /// Empty: the reply acknowledges.
        var refused: [ResourceError] = []
    }

    private let node: String
    private let trustDomain: TrustDomain
    private var versions: [String: [String: String]] = [:]
    private var answeredTypes: Set<String> = []

    init(node: String, trustDomain: TrustDomain) {
        self.node = node
        self.trustDomain = trustDomain
    }

    /// A first response has come for every type: what is missing from the mesh is missing there, not underway.
    var isSynchronised: Bool { answeredTypes.count == ResourceType.all.count }

    /// The first requests of a stream, one for each type.
    func subscriptions() -> [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] {
        ResourceType.all.map { type in
            .with {
                $0.node.id = node
                $0.typeURL = type
                $0.initialResourceVersions = versions[type] ?? [:]
            }
        }
    }

    /// Takes the good resources, refuses the others by name. A refused resource leaves what was held under its name.
    mutating func receive(_ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse) -> Outcome {
        let type = response.typeURL
        var outcome = Outcome(
            reply: .with {
                $0.typeURL = type
                $0.responseNonce = response.nonce
            })
        if ResourceType.all.contains(type) {
            var held = versions.removeValue(forKey: type) ?? [:]
            for name in response.removedResources where held.removeValue(forKey: name) != nil {
                if type == ResourceType.address { outcome.update.removed.append(name) }
            }
            for resource in response.resources {
                do throws(ResourceError) {
                    guard held.count < Self.resourcesMax || held[resource.name] != nil else {
                        throw ResourceError(resource.name, "", "more than \(Self.resourcesMax) resources")
                    }
                    try take(resource, type, into: &outcome.update)
                    held[resource.name] = resource.version
                } catch {
                    outcome.refused.append(error)
                }
            }
            versions[type] = held
            answeredTypes.insert(type)
        } else {
            outcome.refused = [ResourceError("", "type_url", "\"\(type.shortened(to: 128))\" was not asked for")]
        }
        if !outcome.refused.isEmpty {
            outcome.reply.errorDetail.code = 3  // INVALID_ARGUMENT
            outcome.reply.errorDetail.message = Self.text(outcome.refused)
        }
        return outcome
    }

    private static func text(_ refused: [ResourceError]) -> String {
        let named = refused.prefix(namedRefusalsMax).map(\.description).joined(separator: "; ")
        let rest = refused.count - namedRefusalsMax
        return rest > 0 ? "\(named); and \(rest) more" : named
    }

    private func take(
        _ resource: Envoy_Service_Discovery_V3_Resource, _ type: String, into update: inout MeshUpdate
    ) throws(ResourceError) {
        guard resource.resource.typeURL == type else {
            throw ResourceError(resource.name, "resource.type_url", "is not \(type)")
        }
        guard type == ResourceType.address else { return try Self.checkPolicy(resource) }
        let address: Istio_Workload_Address
        do {
            address = try Istio_Workload_Address(serializedBytes: resource.resource.value)
        } catch {
            throw ResourceError(resource.name, "resource.value", "is not an istio.workload.Address")
        }
        switch address.type {
        case .workload(let message):
            let workload = try Workload(message, trustDomain: trustDomain)
            try Self.check(resource.name, isKey: workload.uid)
            update.upsertedWorkloads.append(workload)
        case .service(let message):
            let service = try Service(message)
            try Self.check(resource.name, isKey: service.name.description)
            update.upsertedServices.append(service)
        case nil:
            throw ResourceError(resource.name, "type", "is neither workload nor service")
        }
    }

    /// To take a policy and not enforce it would let through what it forbids.
    private static func checkPolicy(_ resource: Envoy_Service_Discovery_V3_Resource) throws(ResourceError) {
        guard StrictPolicy.isName(resource.name),
            let policy = try? Istio_Security_Authorization(serializedBytes: resource.resource.value),
            StrictPolicy.isContent(policy)
        else {
            throw ResourceError(
                resource.name, "", "authorization policies other than the static strict one are not supported")
        }
    }

    private static func check(_ name: String, isKey key: String) throws(ResourceError) {
        // Removals come by name: under another one the resource would stay for ever.
        guard key.utf8.elementsEqual(name.utf8) else {
            throw ResourceError(name, "name", "is not the key of its content, \"\(key)\"")
        }
    }
}
