/// What one client knows of one resource type on one stream, and what it is to be told next (delta xDS).
///
/// A value without I/O. One response is outstanding at a time; whatever changes meanwhile is told in one go after the
/// client has answered. A resource that the client refused is not sent again until it changes.
struct DeltaSubscription {
    /// A request, reduced to what concerns the subscription.
    struct Request: Equatable {
        var subscribe: [String] = []
        var unsubscribe: [String] = []
        var initialVersions: [String: String] = [:]
        /// Empty: the request answers no response.
        var nonce = ""
        /// Set: the response with this nonce was refused, and why.
        var refusal: String?
    }

    /// What a request meant.
    enum Receipt: Equatable {
        case subscribed
        case acknowledged
        /// Log and count it; the stream goes on.
        case refused(String)
        /// It answers a response that is no longer the last one: nothing to do.
        case stale
        /// End the stream with this text.
        case violation(String)
    }

    struct Response: Equatable {
        var nonce: String
        /// In the order of their names.
        var upserts: [String]
        var removals: [String]
    }

    /// How many names a client may ask for one by one.
    static let subscribedNamesMax = 100_000
    private static let wildcard = "*"

    private var started = false
    private var isWildcard = false
    private var names: Set<String> = []
    /// What the client holds or was sent: name to version.
    private var known: [String: String] = [:]
    /// Asked for one by one and not answered since.
    private var owed: Set<String> = []
    private var owesFirstResponse = false
    private var outstanding: String?
    private var responses: UInt64 = 0

    mutating func receive(_ request: Request) -> Receipt {
        guard started else { return start(request) }
        guard request.initialVersions.isEmpty else {
            return .violation("initial_resource_versions is for the first request of a type")
        }
        guard change(request) else { return .violation("more than \(Self.subscribedNamesMax) names subscribed") }
        guard !request.nonce.isEmpty else { return .subscribed }
        guard request.nonce == outstanding else { return .stale }
        outstanding = nil
        return request.refusal.map(Receipt.refused) ?? .acknowledged
    }

    private mutating func start(_ request: Request) -> Receipt {
        started = true
        owesFirstResponse = true
        known = request.initialVersions
        // Naming nothing at first means everything; later it means no change.
        isWildcard = request.subscribe.isEmpty
        guard change(request) else { return .violation("more than \(Self.subscribedNamesMax) names subscribed") }
        return .subscribed
    }

    private mutating func change(_ request: Request) -> Bool {
        for name in request.subscribe {
            if name == Self.wildcard {
                isWildcard = true
            } else {
                names.insert(name)
                owed.insert(name)
            }
        }
        for name in request.unsubscribe {
            if name == Self.wildcard {
                isWildcard = false
            } else {
                names.remove(name)
                owed.remove(name)
                if !isWildcard { known[name] = nil }
            }
        }
        return names.count <= Self.subscribedNamesMax
    }

    /// The next response; nil while one is outstanding or when there is nothing to tell.
    ///
    /// It is never split: a client that has taken its first one knows all there is, and may rely on what is missing.
    mutating func next(from resources: [String: DiscoveryResource]) -> Response? {
        guard started, outstanding == nil else { return nil }
        var removals = known.keys.filter { resources[$0] == nil }
        removals += owed.filter { resources[$0] == nil && known[$0] == nil }
        var upserts: [DiscoveryResource] = []
        if isWildcard {
            upserts = resources.values.filter(isDue)
        } else {
            upserts = names.compactMap { resources[$0] }.filter(isDue)
        }
        guard owesFirstResponse || !removals.isEmpty || !upserts.isEmpty else { return nil }

        owesFirstResponse = false
        for name in removals {
            known[name] = nil
            owed.remove(name)
        }
        for resource in upserts {
            known[resource.name] = resource.version
            owed.remove(resource.name)
        }
        responses += 1
        let nonce = String(responses)
        outstanding = nonce
        return Response(nonce: nonce, upserts: upserts.map(\.name).sorted(), removals: removals.sorted())
    }

    private func isDue(_ resource: DiscoveryResource) -> Bool {
        known[resource.name] != resource.version || owed.contains(resource.name)
    }
}
