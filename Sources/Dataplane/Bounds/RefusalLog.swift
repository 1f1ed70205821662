import LinuxNetworking

/// Refusals by the thousand in few records: the first of a kind at once, those of the following second in one that counts them.
final class RefusalLog {
    private static let interval: Duration = .seconds(1)

    /// The reasons are fixed texts, so that kinds are few.
    private struct Kind: Hashable {
        let pod: Pod.Name
        let direction: ConnectionRecord.Direction
        let failure: ConnectionFailure?
    }

    private let loop: EventLoop
    private let sink: RecordSink
    private var repeated: [Kind: ConnectionRecord] = [:]

    init(loop: EventLoop, sink: @escaping RecordSink) {
        self.loop = loop
        self.sink = sink
    }

    func note(_ record: ConnectionRecord) {
        let kind = Kind(pod: record.pod, direction: record.direction, failure: record.failure)
        if let count = repeated[kind]?.count {
            repeated[kind] = record
            repeated[kind]?.count = count + 1
        } else {
            sink(record)
            if repeated.isEmpty { flushLater() }
            repeated[kind] = record
            repeated[kind]?.count = 0
        }
    }

    private func flushLater() {
        loop.schedule(after: Self.interval) { [weak self] in self?.flush() }
    }

    private func flush() {
        for (kind, record) in repeated {
            if record.count > 0 {
                sink(record)
                repeated[kind]?.count = 0
            } else {
                repeated[kind] = nil
            }
        }
        if !repeated.isEmpty { flushLater() }
    }
}
