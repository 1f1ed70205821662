/// How long roots, intermediates and leaves live.
///
/// An issuer lives at least six times as long as what it signs, so that its successor can be published, activated at 5/6 of its life and
/// still never cut a leaf short. `validate()` refuses anything else: a lifetime that is silently clamped later is an outage in waiting.
public struct AuthorityLifetimes: Sendable, Equatable {
    public var root: Duration
    public var intermediate: Duration
    public var leaf: Duration

    public static let issuerToSubjectRatio: Int64 = 6
    public static let leafMax: Duration = .seconds(24 * 3600)
    public static let leafMin: Duration = .seconds(10)

    public init(
        root: Duration = .seconds(365 * 24 * 3600),
        intermediate: Duration = .seconds(7 * 24 * 3600),
        leaf: Duration = .seconds(3600)
    ) {
        self.root = root
        self.intermediate = intermediate
        self.leaf = leaf
    }

    public func validate() throws(AuthorityLifetimesFlaw) {
        if let flaw = flaws.first { throw flaw }
    }

    /// All that is wrong with them.
    public var flaws: [AuthorityLifetimesFlaw] {
        var flaws: [AuthorityLifetimesFlaw] = []
        if leaf < Self.leafMin || leaf > Self.leafMax { flaws.append(.leafOutOfRange(leaf)) }
        if intermediate < leaf * Int(Self.issuerToSubjectRatio) {
            flaws.append(.tooShort(issuer: "intermediate", intermediate, subject: "leaf", leaf))
        }
        if root < intermediate * Int(Self.issuerToSubjectRatio) {
            flaws.append(.tooShort(issuer: "root", root, subject: "intermediate", intermediate))
        }
        return flaws
    }
}

/// Why a set of lifetimes cannot be honoured.
public enum AuthorityLifetimesFlaw: Error, Sendable, Equatable, CustomStringConvertible {
    case leafOutOfRange(Duration)
    case tooShort(issuer: String, Duration, subject: String, Duration)

    public var description: String {
        switch self {
        case .leafOutOfRange(let leaf):
            return
                "leaf lifetime \(leaf.inWords) is outside \(AuthorityLifetimes.leafMin.inWords) to \(AuthorityLifetimes.leafMax.inWords)"
        case .tooShort(let issuer, let life, let subject, let subjectLife):
            let least = subjectLife * Int(AuthorityLifetimes.issuerToSubjectRatio)
            return
                "\(issuer) lifetime \(life.inWords) is less than six times the \(subject) lifetime \(subjectLife.inWords): "
                + "make the \(issuer) at least \(least.inWords) or the \(subject) at most \((life / 6).inWords)"
        }
    }
}

extension Duration {
    /// The largest whole unit that fits, as `10m` or `36h`: the spelling of the command line.
    public var inWords: String {
        let seconds = components.seconds
        for (size, unit) in [(Int64(86400), "d"), (3600, "h"), (60, "m")] where seconds >= size && seconds % size == 0 {
            return "\(seconds / size)\(unit)"
        }
        return "\(seconds)s"
    }
}
