import IPAddressing
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
    /// How many addresses may be asked for at one time.
    static let questionsMax = 1024

    /// The update to apply, and what to send when that is done.
    struct Outcome {
        var update = MeshUpdate()
        var reply: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest
        /// Empty: the reply acknowledges.
        var refused: [ResourceError] = []
        /// Addresses that were asked for: what the server knows of them is in the update, or was known before.
        var answered: [IPAddress] = []
        /// What is to be asked besides.
        var next: [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] = []
    }

    private let node: String
    private let trustDomain: TrustDomain
    private var versions: [ResourceType: [String: String]] = [:]
    private var answeredTypes: Set<ResourceType> = []
    /// Addresses that were asked for, by the name that was used.
    private var questions: [String: IPAddress] = [:]
    private var streamAnswers: Set<ResourceType> = []
    private var hasAskedForRanges = false
    /// The server is somebody else's, and ends streams on which that is asked.
    private var hasNoRanges = false

    init(node: String, trustDomain: TrustDomain) {
        self.node = node
        self.trustDomain = trustDomain
    }

    /// What every server of a mesh has.
    private static let commonTypes: Set<ResourceType> = [.address, .authorization]

    /// A first response has come for every type: what is missing from the mesh is missing there, not underway.
    var isSynchronised: Bool { answeredTypes.isSuperset(of: Self.commonTypes) }

    /// The server has told the mesh on this stream.
    var hasMeshOnStream: Bool { streamAnswers.contains(.address) }

    // MARK: Streams

    /// The first requests of a stream.
    mutating func subscriptions() -> [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] {
        streamAnswers = []
        hasAskedForRanges = false
        return [ResourceType.address, .authorization].map(subscription)
    }

    private func subscription(_ type: ResourceType) -> Envoy_Service_Discovery_V3_DeltaDiscoveryRequest {
        .with {
            $0.node.id = node
            $0.typeURL = type.url
            $0.initialResourceVersions = versions[type] ?? [:]
        }
    }

    /// A stream has ended because the server would not go on with it.
    mutating func wasRefused() {
        if hasAskedForRanges, !streamAnswers.contains(.ranges) { hasNoRanges = true }
    }

    // MARK: Questions

    enum Question {
        case ask(Envoy_Service_Discovery_V3_DeltaDiscoveryRequest)
        /// Somebody has asked already.
        case asked
        case tooMany
    }

    mutating func ask(_ address: IPAddress) -> Question {
        let name = "/\(address)"
        guard questions[name] == nil else { return .asked }
        guard questions.count < Self.questionsMax else { return .tooMany }
        questions[name] = address
        return .ask(Self.question([name]))
    }

    /// What was asked and not answered, for a new stream that has answered its first requests.
    private static func question(_ names: [String]) -> Envoy_Service_Discovery_V3_DeltaDiscoveryRequest {
        .with {
            $0.typeURL = ResourceType.address.url
            $0.resourceNamesSubscribe = names
        }
    }

    /// Nobody waits for an answer any more.
    mutating func withdrawQuestions() { questions = [:] }

    // MARK: Responses

    /// Takes the good resources, refuses the others by name. A refused resource leaves what was held under its name.
    mutating func receive(_ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse) -> Outcome {
        var outcome = Outcome(
            reply: .with {
                $0.typeURL = response.typeURL
                $0.responseNonce = response.nonce
            })
        if let type = ResourceType(url: response.typeURL) {
            take(response, type, into: &outcome)
            answeredTypes.insert(type)
            if streamAnswers.insert(type).inserted { outcome.next = next(after: type) }
        } else {
            outcome.refused = [
                ResourceError("", "type_url", "\"\(response.typeURL.shortened(to: 128))\" was not asked for")
            ]
        }
        if !outcome.refused.isEmpty {
            outcome.reply.errorDetail.code = 3  // INVALID_ARGUMENT
            outcome.reply.errorDetail.message = Self.text(outcome.refused)
        }
        return outcome
    }

    /// What is asked once the server has begun to answer: anything but the mesh itself can wait.
    private mutating func next(after type: ResourceType) -> [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] {
        var requests: [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] = []
        if type == .address, !questions.isEmpty { requests.append(Self.question(Array(questions.keys))) }
        if streamAnswers.isSuperset(of: Self.commonTypes), !hasAskedForRanges, !hasNoRanges {
            hasAskedForRanges = true
            requests.append(subscription(.ranges))
        }
        return requests
    }

    private mutating func take(
        _ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse, _ type: ResourceType,
        into outcome: inout Outcome
    ) {
        var held = versions.removeValue(forKey: type) ?? [:]
        for name in response.removedResources {
            if held.removeValue(forKey: name) != nil {
                if type == .address { outcome.update.removed.append(name) }
                if type == .ranges { outcome.update.ranges = [] }
            }
            if let address = questions.removeValue(forKey: name) { outcome.answered.append(address) }
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
    }

    private static func text(_ refused: [ResourceError]) -> String {
        let named = refused.prefix(namedRefusalsMax).map(\.description).joined(separator: "; ")
        let rest = refused.count - namedRefusalsMax
        return rest > 0 ? "\(named); and \(rest) more" : named
    }

    private func take(
        _ resource: Envoy_Service_Discovery_V3_Resource, _ type: ResourceType, into update: inout MeshUpdate
    ) throws(ResourceError) {
        guard resource.resource.typeURL == type.url else {
            throw ResourceError(resource.name, "resource.type_url", "is not \(type.url)")
        }
        switch type {
        case .authorization: return try Self.checkPolicy(resource)
        case .ranges:
            update.ranges = try Set(addressRanges: resource)
            return
        case .address: break
        }
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
