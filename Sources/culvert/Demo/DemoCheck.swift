/// One thing that had to hold, and whether it did.
struct DemoCheck: Hashable, Sendable, Encodable {
    let name: String
    let passed: Bool
    /// What was seen, or everything that was wrong.
    let detail: String

    init(_ name: String, problems: [String], success: String) {
        self.name = name
        passed = problems.isEmpty
        detail = passed ? success : problems.joined(separator: "; ")
    }
}
