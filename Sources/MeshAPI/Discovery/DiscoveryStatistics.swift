/// What a discovery server has done since it was made.
public struct DiscoveryStatistics: Hashable, Sendable {
    /// How long what was learnt took to be taken by a client.
    public struct Lag: Hashable, Sendable {
        /// In milliseconds; one more bucket is for what took longer.
        public static let bounds = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000]
        /// How many took no longer than the bound of the same place, and longer than the one before.
        public private(set) var counts = [Int](repeating: 0, count: bounds.count + 1)
        public private(set) var sum = Duration.zero
        public private(set) var max = Duration.zero

        public var count: Int { counts.reduce(0, +) }

        mutating func add(_ lag: Duration) {
            let bucket = Self.bounds.firstIndex { lag <= .milliseconds($0) } ?? Self.bounds.count
            counts[bucket] += 1
            sum += lag
            max = Swift.max(max, lag)
        }
    }

    public var streams = 0
    public var openStreams = 0
    public var responses = 0
    public var resourcesSent = 0
    public var removalsSent = 0
    public var acknowledged = 0
    /// Responses that a client refused wholly or in part.
    public var refused = 0
    /// Workloads and services that there are.
    public var resources = 0
    public var lag = Lag()

    public init() {}
}
