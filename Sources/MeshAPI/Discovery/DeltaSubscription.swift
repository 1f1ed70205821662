import IPAddressing

/// What one client is to be told of one resource type on one stream (delta xDS).
///
/// A value without I/O. One response is outstanding at a time; whatever changes meanwhile is told in one go after the client has
/// answered, so that one that does not read costs no more than the names of what has changed.
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
        /// `since` is when the oldest part of what the client has taken was learnt.
        case acknowledged(since: ContinuousClock.Instant?)
        /// Log and count it; the stream goes on, and what was refused is sent again at that time.
        case refused(String, retryAt: ContinuousClock.Instant)
        /// It answers a response that is no longer the last one: nothing to do.
        case stale
        /// End the stream with this text.
        case violation(String)
    }

    struct Response {
        var nonce: String
        var resources: [DiscoveryResource]
        var removals: [String]
    }

    /// What a client did not take. It might take it later: after an upgrade, or when it was short of something.
    private struct Refusal {
        var names: Set<String>
        var attempts: Int
        var retryAt: ContinuousClock.Instant?
    }

    private struct Outstanding {
        let nonce: String
        let names: [String]
        let since: ContinuousClock.Instant?
    }

    /// How many names a client may ask for one by one.
    static let subscribedNamesMax = 100_000
    /// A client that keeps refusing is asked again after half a minute, then ever more rarely.
    static let retryDelay = Duration.seconds(30)
    static let retryDelayMax = Duration.seconds(600)
    private static let wildcard = "*"

    /// The client's in the table.
    private let bit: UInt32
    private var started = false
    private var isWildcard = false
    private var names: Set<String> = []
    /// Those of `names` that are addresses.
    private var addresses: Set<IPAddress> = []
    /// To be sent: changed, not held, or asked for.
    private var due: Set<String> = []
    /// To be said to be gone: held, or asked for.
    private var gone: Set<String> = []
    private var dueSince: ContinuousClock.Instant?
    private var owesFirstResponse = false
    /// The client waits for an answer.
    private(set) var isUrgent = false
    private var outstanding: Outstanding?
    private var refusal: Refusal?
    private var responses: UInt64 = 0

    init(bit: UInt32) {
        self.bit = bit
    }

    /// How many names it keeps beside those in the table.
    var backlog: Int { due.count + gone.count }

    // MARK: The client

    mutating func receive(
        _ request: Request, _ table: inout ResourceTable, now: ContinuousClock.Instant
    ) -> Receipt {
        if started, !request.initialVersions.isEmpty {
            return .violation("initial_resource_versions is for the first request of a type")
        }
        let isFirst = !started
        if isFirst {
            started = true
            owesFirstResponse = true
            isUrgent = true
            // Naming nothing at first means everything; later it means no change.
            isWildcard = request.subscribe.isEmpty
        }
        subscribe(request, &table)
        guard names.count <= Self.subscribedNamesMax else {
            return .violation("more than \(Self.subscribedNamesMax) names subscribed")
        }
        if isFirst { takeOver(request.initialVersions, &table) }
        guard !request.nonce.isEmpty else { return .subscribed }
        guard let answered = outstanding, request.nonce == answered.nonce else { return .stale }
        outstanding = nil
        guard let reason = request.refusal else {
            refusal?.names.subtract(answered.names)
            if refusal?.names.isEmpty == true { refusal = nil }
            return .acknowledged(since: answered.since)
        }
        return .refused(reason, retryAt: refuse(answered, reason, now))
    }

    private mutating func subscribe(_ request: Request, _ table: inout ResourceTable) {
        for name in request.subscribe {
            guard name != Self.wildcard else {
                isWildcard = true
                continue
            }
            isUrgent = true
            if !isWildcard { names.insert(name) }
            if let address = Self.address(name) {
                if !isWildcard { addresses.insert(address) }
                due.formUnion(table.names(at: address))
                // No resource is called like that; the one that is meant comes in the same response, under its own name.
                gone.insert(name)
            } else if table[name] != nil {
                due.insert(name)
            } else {
                gone.insert(name)
            }
        }
        for name in request.unsubscribe {
            if name == Self.wildcard {
                isWildcard = false
                due.formIntersection(names)
            } else {
                names.remove(name)
                if let address = Self.address(name) { addresses.remove(address) }
                guard !isWildcard else { continue }
                due.remove(name)
                gone.remove(name)
                table.unmark(name, heldBy: bit)
            }
        }
    }

    /// `network/address`; ours is the network without a name.
    private static func address(_ name: String) -> IPAddress? {
        name.first == "/" ? IPAddress(String(name.dropFirst())) : nil
    }

    /// What the client holds from an earlier stream: it follows that as if it had asked for it now.
    private mutating func takeOver(_ versions: [String: String], _ table: inout ResourceTable) {
        table.forget(bit)
        for (name, version) in versions {
            if !isWildcard { names.insert(name) }
            if let address = Self.address(name) {
                if !isWildcard { addresses.insert(address) }
            } else if table.mark(name, heldBy: bit) {
                if table[name]?.version != version { due.insert(name) }
            } else {
                gone.insert(name)
            }
        }
        guard isWildcard else { return }
        for (name, entry) in table.entries where entry.holders & bit == 0 { due.insert(name) }
    }

    private mutating func refuse(
        _ answered: Outstanding, _ reason: String, _ now: ContinuousClock.Instant
    ) -> ContinuousClock.Instant {
        // A refusal is text, in which the names appear between other words.
        let words = reason.split { " \t\n\";,()".contains($0) }
            .map { $0.last == ":" ? $0.dropLast() : $0 }
        let sent = Set(answered.names)
        let named = Set(words.map(String.init)).intersection(sent)
        let attempts = (refusal?.attempts ?? 0) + 1
        let delay = min(Self.retryDelay * (1 << min(attempts - 1, 10)), Self.retryDelayMax)
        refusal = Refusal(
            names: (refusal?.names ?? []).union(named.isEmpty ? sent : named), attempts: attempts,
            retryAt: now + delay)
        return now + delay
    }

    // MARK: The mesh

    /// A resource has come or changed.
    mutating func changed(
        _ resource: DiscoveryResource, _ table: inout ResourceTable, since: ContinuousClock.Instant
    ) {
        guard started else { return }
        // It is there again before the client was told that it had gone.
        if gone.remove(resource.name) != nil { table.mark(resource.name, heldBy: bit) }
        guard isWildcard || names.contains(resource.name) || resource.addresses.contains(where: addresses.contains)
        else { return }
        due.insert(resource.name)
        dueSince = dueSince ?? since
    }

    mutating func removed(_ entry: ResourceTable.Entry, since: ContinuousClock.Instant) {
        guard started else { return }
        due.remove(entry.resource.name)
        guard entry.holders & bit != 0 else { return }
        gone.insert(entry.resource.name)
        dueSince = dueSince ?? since
    }

    /// The next response; nil while one is outstanding or when there is nothing to tell.
    ///
    /// A client that has taken its first one knows all there is, and may rely on what is missing: it is split only where it would
    /// have more than `bytesMax`.
    mutating func next(
        from table: inout ResourceTable, bytesMax: Int, now: ContinuousClock.Instant
    ) -> Response? {
        guard started, outstanding == nil else { return nil }
        if let retryAt = refusal?.retryAt, retryAt <= now {
            due.formUnion(refusal?.names.filter { table[$0] != nil } ?? [])
            refusal?.retryAt = nil
        }
        guard owesFirstResponse || !due.isEmpty || !gone.isEmpty else { return nil }

        responses += 1
        var response = Response(nonce: String(responses), resources: [], removals: Array(gone))
        var size = 0
        var later: Set<String> = []
        response.resources.reserveCapacity(due.count)
        for name in due {
            guard let resource = table[name] else { continue }
            guard size == 0 || size + resource.encoded.count <= bytesMax else {
                later.insert(name)
                continue
            }
            size += resource.encoded.count
            table.mark(name, heldBy: bit)
            response.resources.append(resource)
        }
        outstanding = Outstanding(
            nonce: response.nonce, names: response.resources.map(\.name), since: dueSince)
        (due, gone) = (later, [])
        (owesFirstResponse, isUrgent) = (false, !later.isEmpty)
        if later.isEmpty { dueSince = nil }
        return response
    }
}
