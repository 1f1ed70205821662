public import SPIFFE

/// The bundle of a federated trust domain: what is held of it, what a fetched document does to that, and when to look again. A value
/// without I/O.
public struct FederatedBundle: Sendable, Equatable {
    /// How many authorities a foreign domain may have, and how large they may be together in bytes: all nodes get them.
    public static let authoritiesMax = 64
    public static let bytesMax = 64 << 10
    /// What the standard says of a publisher that gives no hint; in seconds.
    static let refreshHintDefault = 300
    /// A new key is published several hints before it signs: looking so often within one loses none.
    static let looksPerHint = 4

    /// How often a publisher is asked, whatever it says.
    public struct Pace: Sendable, Equatable {
        public var least: Duration
        public var most: Duration

        public init(least: Duration = .seconds(60), most: Duration = .seconds(3600)) {
            self.least = least
            self.most = most
        }
    }

    public enum Outcome: Sendable, Equatable {
        case unchanged
        /// It is to be kept and distributed.
        case changed
        /// What is held stays.
        case refused(String)
    }

    public let trustDomain: TrustDomain
    /// nil until the first good document.
    public private(set) var bundle: TrustBundle?
    private var failures = 0

    /// `bundle` is what was kept of an earlier time.
    public init(_ trustDomain: TrustDomain, kept bundle: TrustBundle? = nil) {
        self.trustDomain = trustDomain
        self.bundle = bundle
    }

    /// A document was fetched. Taken whole or refused whole.
    public mutating func received(_ document: [UInt8]) -> Outcome {
        let outcome = decide(document)
        if case .refused = outcome { failures += 1 } else { failures = 0 }
        return outcome
    }

    /// None could be fetched.
    public mutating func failed() { failures += 1 }

    /// `draw` is uniform in 0..<1. Soon as long as nothing is held, else by the publisher's hint; a failure changes nothing in that.
    public func nextLook(_ pace: Pace, draw: Double) -> Duration {
        let hint = Duration.seconds(bundle?.refreshHint ?? Self.refreshHintDefault)
        let regular = min(max(hint / Self.looksPerHint, pace.least), pace.most)
        let wait = bundle == nil ? min(regular, .seconds(1) * (1 << min(failures, 16))) : regular
        // Those who begin together do not stay together.
        return wait * (0.9 + 0.2 * min(max(draw, 0), 1))
    }

    private mutating func decide(_ document: [UInt8]) -> Outcome {
        let next: TrustBundle
        do { next = try TrustBundle(trustDomain: trustDomain, jwks: document) } catch { return .refused("\(error)") }
        guard next.authorities.count <= Self.authoritiesMax else {
            return .refused("it has \(next.authorities.count) authorities; at most \(Self.authoritiesMax) are taken")
        }
        let bytes = next.authorities.reduce(0) { $0 + $1.der().count }
        guard bytes <= Self.bytesMax else {
            return .refused("its authorities have \(bytes) bytes; at most \(Self.bytesMax) are taken")
        }
        guard let present = bundle else {
            bundle = next
            return .changed
        }
        switch present.succession(by: next) {
        case .newer: break
        case .unchanged:
            // The hint may be another one.
            bundle = next
            return .unchanged
        case .older:
            return .refused("its sequence \(next.sequence) is older than \(present.sequence), which is held")
        // Without sequence numbers the newest document is the one that was fetched last.
        case .conflicting where next.sequence == 0: break
        case .conflicting:
            return .refused("it has other content than what is held, under the same sequence \(next.sequence)")
        }
        bundle = next
        return .changed
    }
}
