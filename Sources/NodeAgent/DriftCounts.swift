/// How often each part of each pod was found missing or changed, since the agent started.
struct DriftCounts: Sendable {
    /// Of one pod; the rest is counted as `others`.
    private static let partsMax = 64

    private var counts: [String: [String: Int]] = [:]

    func parts(of uid: String) -> [String: Int] { counts[uid] ?? [:] }
    func total(of uid: String) -> Int { parts(of: uid).values.reduce(0, +) }

    mutating func count(_ parts: [String], of uid: String) {
        for part in parts {
            let isKnown = counts[uid]?[part] != nil || (counts[uid]?.count ?? 0) < Self.partsMax
            counts[uid, default: [:]][isKnown ? part : "others", default: 0] += 1
        }
    }

    mutating func forget(_ uid: String) { counts[uid] = nil }
}
