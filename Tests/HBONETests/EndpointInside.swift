@testable import HBONE

extension HBONEConnection {
    /// No stream is remembered, nothing is pending.
    var isBare: Bool {
        streams.isEmpty && latest == nil && cancelled.isEmpty && !hasOutput && ready.isEmpty && writer.isEmpty
    }
}
