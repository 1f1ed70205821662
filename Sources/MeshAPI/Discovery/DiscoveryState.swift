/// All that a discovery server knows: what there is, and what each of its streams was told of it. A value without I/O.
struct DiscoveryState {
    /// A node has one proxy; a few more while one replaces another, and an operator's tools.
    static let streamsMax = 16
    /// In bytes. Clients take 200 MiB; a mesh of 300 000 workloads comes in one response.
    static let responseBytesMax = 128 << 20

    private struct Stream {
        let bit: UInt32
        var subscriptions: [ResourceType: DeltaSubscription] = [:]
    }

    private var tables: [ResourceType: ResourceTable] = [:]
    private var streams: [UInt64: Stream] = [:]
    private var nextStream: UInt64 = 0

    init() {
        for type in ResourceType.allCases { tables[type] = ResourceTable() }
        // Always: a workload that refers to it must not be known before it.
        _ = tables[.authorization]?.insert(.strictPolicy)
    }

    var streamCount: Int { streams.count }
    var resourceCount: Int { tables[.address]?.entries.count ?? 0 }
    /// Names that are kept for streams that are behind.
    var backlog: Int { streams.values.reduce(0) { $0 + $1.subscriptions.values.reduce(0) { $0 + $1.backlog } } }

    /// Whether anybody is to be told.
    @discardableResult
    mutating func publish(
        _ changed: [DiscoveryResource], removed: [String], since: ContinuousClock.Instant
    ) -> Bool {
        var isNews = false
        // A copy: what a walk over the streams themselves holds, each change to one of them would copy, with all that it is behind on.
        let ids = Array(streams.keys)
        for name in removed {
            guard let entry = tables[.address]?.remove(name) else { continue }
            isNews = true
            for id in ids { streams[id]?.subscriptions[.address]?.removed(entry, since: since) }
        }
        for resource in changed {
            guard tables[resource.type]?.insert(resource) == true else { continue }
            isNews = true
            for id in ids {
                streams[id]?.subscriptions[resource.type]?.changed(
                    resource, &tables[resource.type, default: ResourceTable()], since: since)
            }
        }
        return isNews
    }

    /// nil when there are too many.
    mutating func open() -> UInt64? {
        guard streams.count < Self.streamsMax else { return nil }
        let taken = streams.values.reduce(UInt32(0)) { $0 | $1.bit }
        let id = nextStream
        nextStream += 1
        streams[id] = Stream(bit: 1 << UInt32((~taken).trailingZeroBitCount))
        return id
    }

    mutating func close(_ id: UInt64) { streams[id] = nil }

    mutating func receive(
        _ type: String, _ request: DeltaSubscription.Request, from id: UInt64, now: ContinuousClock.Instant
    ) -> DeltaSubscription.Receipt {
        guard let type = ResourceType(url: type) else {
            return .violation("resource type \"\(type.shortened(to: 128))\" is not served")
        }
        guard let bit = streams[id]?.bit else { return .stale }
        return streams[id]?.subscriptions[type, default: DeltaSubscription(bit: bit)].receive(
            request, &tables[type, default: ResourceTable()], now: now) ?? .stale
    }

    /// A client waits for an answer: it is not to wait for what else may come.
    func isUrgent(_ id: UInt64) -> Bool {
        streams[id]?.subscriptions.values.contains(where: \.isUrgent) ?? false
    }

    /// The next message to a stream; nil when every subscription waits for the client or for news.
    mutating func next(
        for id: UInt64, bytesMax: Int = responseBytesMax, now: ContinuousClock.Instant
    ) -> DiscoveryResponse? {
        // Policies first: who is told of a workload knows what it refers to.
        for type in [ResourceType.authorization, .ranges, .address] {
            let response = streams[id]?.subscriptions[type]?.next(
                from: &tables[type, default: ResourceTable()], bytesMax: bytesMax, now: now)
            if let response { return DiscoveryResponse(type: type, content: response) }
        }
        return nil
    }
}
