import IPAddressing

/// What the programs of one pair saw of their conversation.
struct ProgramOutcome: Hashable, Sendable {
    /// `HTTP`, `echo` or `bulk`.
    let program: String
    var attempted = 0
    var succeeded = 0
    /// The client's address as the server saw it.
    var peersSeen: [IPAddress] = []
    /// Payload that the programs exchanged, both directions.
    var bytes: UInt64 = 0
    /// `200 OK ×20`, for people.
    var summary = ""
    /// The first thing that went wrong.
    var failure: String?

    init(_ program: String) { self.program = program }

    var succeededWholly: Bool { failure == nil && attempted == succeeded && attempted > 0 }

    mutating func saw(_ peer: IPAddress) {
        if !peersSeen.contains(peer) { peersSeen.append(peer) }
    }

    /// Later failures are mostly consequences of the first.
    mutating func failed(_ reason: String) {
        if failure == nil { failure = reason }
    }
}
