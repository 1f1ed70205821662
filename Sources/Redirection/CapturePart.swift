/// One thing that leads a pod's connections to the proxy, or keeps others in: each can be taken away or changed by itself.
public struct CapturePart: Hashable, Sendable {
    /// The same on every node: `route v4`, `lookup program`.
    public let name: String
    /// And as it should be.
    public let isPresent: Bool
    /// Whether its being there says that a pod is, or was, enrolled.
    let isProof: Bool

    init(_ name: String, isPresent: Bool, isProof: Bool = false) {
        self.name = name
        self.isPresent = isPresent
        self.isProof = isProof
    }
}

extension [CapturePart] {
    /// The names of those that are not there, or not as they should be.
    public var missing: [String] { filter { !$0.isPresent }.map(\.name) }
}

extension RedirectionState {
    init(_ parts: [CapturePart], isAnythingThere: Bool = false) {
        let missing = parts.missing
        let isThere = isAnythingThere || parts.contains { $0.isPresent && $0.isProof }
        self = missing.isEmpty ? .complete : isThere ? .partial(missing) : .absent
    }
}
