import SwiftProtobuf

/// One client's stream: a subscription for each resource type it asked for (aggregated discovery).
struct DiscoveryStream {
    /// Resources by type URL and name. A type that is not a key here is not served.
    typealias Resources = [String: [String: DiscoveryResource]]

    private var subscriptions: [String: DeltaSubscription] = [:]

    mutating func receive(_ message: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest) -> DeltaSubscription.Receipt {
        guard ResourceType.all.contains(message.typeURL) else {
            return .violation("resource type \"\(message.typeURL.shortened(to: 128))\" is not served")
        }
        return subscriptions[message.typeURL, default: DeltaSubscription()].receive(
            DeltaSubscription.Request(
                subscribe: message.resourceNamesSubscribe,
                unsubscribe: message.resourceNamesUnsubscribe,
                initialVersions: message.initialResourceVersions,
                nonce: message.responseNonce,
                refusal: message.hasErrorDetail ? message.errorDetail.message.shortened(to: 1024) : nil
            ))
    }

    /// The next message to send; nil when every subscription waits for the client or for news.
    mutating func next(from resources: Resources) -> Envoy_Service_Discovery_V3_DeltaDiscoveryResponse? {
        for type in ResourceType.all {
            let ofType = resources[type] ?? [:]
            guard let response = subscriptions[type]?.next(from: ofType) else { continue }
            return .with {
                $0.typeURL = type
                $0.nonce = response.nonce
                $0.resources = response.upserts.compactMap { ofType[$0]?.message }
                $0.removedResources = response.removals
            }
        }
        return nil
    }
}
