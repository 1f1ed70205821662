/// Why the demo could not go on, for the person who started it.
struct DemoError: Error, Sendable, CustomStringConvertible {
    let description: String
    var hint: String?
    /// The end of a process's log, when that tells more.
    var log: String?

    init(_ description: String, hint: String? = nil, log: String? = nil) {
        self.description = description
        self.hint = hint
        self.log = log
    }
}
