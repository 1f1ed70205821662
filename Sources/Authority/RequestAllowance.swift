internal import FoundationEssentials
internal import SPIFFE

/// How many requests may come: a bucket that fills at a rate and holds a burst.
struct TokenBucket: Sendable, Equatable {
    let burst: Double
    let perSecond: Double
    private var level: Double
    private var filledAt: Date

    init(burst: Int, perSecond: Double, now: Date) {
        self.burst = Double(burst)
        self.perSecond = perSecond
        level = Double(burst)
        filledAt = now
    }

    /// nil if the request may pass; else how long to wait.
    mutating func take(at now: Date) -> Duration? {
        fill(to: now)
        guard level < 1 else {
            level -= 1
            return nil
        }
        return .milliseconds(Int64(((1 - level) / perSecond * 1000).rounded(.up)))
    }

    /// As `take`, but takes nothing.
    func wait(at now: Date) -> Duration? {
        var copy = self
        return copy.take(at: now)
    }

    mutating func isFull(at now: Date) -> Bool {
        fill(to: now)
        return level >= burst
    }

    /// A clock that jumps back fills nothing, one that jumps ahead at most the burst.
    private mutating func fill(to now: Date) {
        level = min(burst, level + max(0, now.timeIntervalSince(filledAt)) * perSecond)
        filledAt = now
    }
}

/// What one node may ask for: so many signatures, for so many different identities.
struct NodeAllowance: Sendable {
    private var bucket: TokenBucket
    private let identitiesMax: Int
    private let memory: Duration
    private var identities: [SPIFFEID: Date] = [:]

    init(_ limits: AuthorityLimits, memory: Duration, now: Date) {
        bucket = TokenBucket(burst: limits.nodeBurst, perSecond: limits.nodeSignaturesPerSecond, now: now)
        identitiesMax = limits.identitiesPerNode
        self.memory = memory
    }

    mutating func take(at now: Date) throws(Denial) {
        if let wait = bucket.take(at: now) { throw .rateLimited(retryAfter: wait) }
    }

    /// Counts `id` among the identities that the node holds; each counts for as long as a leaf lives.
    mutating func hold(_ id: SPIFFEID, at now: Date) throws(Denial) {
        if identities[id] == nil, identities.count >= identitiesMax {
            let oldest = now.advanced(by: .zero - memory)
            identities = identities.filter { $0.value > oldest }
            guard identities.count < identitiesMax else {
                throw .tooManyIdentities(limit: identitiesMax, retryAfter: .seconds(60))
            }
        }
        identities[id] = now
    }
}

/// How often strangers may try to attest: per source address, for so many addresses, and for all together.
struct AttestationAllowance: Sendable {
    private let limits: AuthorityLimits
    private var all: TokenBucket
    private var sources: [String: TokenBucket] = [:]

    init(_ limits: AuthorityLimits, now: Date) {
        self.limits = limits
        all = TokenBucket(
            burst: limits.attestationBurst * 100, perSecond: limits.attestationsPerSecond * 100, now: now)
    }

    /// Whether `source` may try now. Nothing is counted: who turns out to be known is no stranger.
    func check(_ source: String, at now: Date) throws(Denial) {
        if let wait = sources[source]?.wait(at: now) ?? all.wait(at: now) { throw .rateLimited(retryAfter: wait) }
    }

    mutating func take(from source: String, at now: Date) throws(Denial) {
        if sources[source] == nil, sources.count >= limits.attestationSourcesMax {
            sources = sources.filter { source in
                var bucket = source.value
                return !bucket.isFull(at: now)
            }
            guard sources.count < limits.attestationSourcesMax else { throw .rateLimited(retryAfter: .seconds(5)) }
        }
        var bucket =
            sources[source]
            ?? TokenBucket(burst: limits.attestationBurst, perSecond: limits.attestationsPerSecond, now: now)
        let wait = bucket.take(at: now)
        sources[source] = bucket
        if let wait = wait ?? all.take(at: now) { throw .rateLimited(retryAfter: wait) }
    }
}

/// What peers can make the authority do and keep.
public struct AuthorityLimits: Sendable, Equatable {
    /// Signatures that one node may take at once, and per second after that.
    public var nodeBurst = 500
    public var nodeSignaturesPerSecond = 50.0
    /// Different identities that one node may hold within one leaf's life.
    public var identitiesPerNode = 1000
    /// Attestations from one source address at once, and per second after that.
    public var attestationBurst = 20
    public var attestationsPerSecond = 1.0
    public var attestationSourcesMax = 4096
    /// Entries in the log of signatures.
    public var issuancesMax = 1_000_000
    /// Concurrent bundle streams.
    public var bundleSubscribersMax = 20_000
    /// Lifetime of a join token.
    public var tokenLifetimeMax: Duration = .seconds(7 * 24 * 3600)

    public init() {}
}
