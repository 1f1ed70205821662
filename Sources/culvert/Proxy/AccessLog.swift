import Dataplane
import Logging
import Observability
import Synchronization

/// The proxy's connection records, as log lines and as counters.
///
/// Records come from the event loops, which never wait: a line is put into memory, and written with those around it by a task.
/// What a slow reader of the log leaves no room for is dropped and counted. A crash loses the lines of the last moment.
final class AccessLog: Sendable {
    /// Lines that wait to be written, in bytes.
    private static let pendingMax = 4 << 20
    /// How long lines may gather.
    private static let interval = Duration.milliseconds(10)

    private let format: LogLine.Format
    private let level: Logger.Level
    private let pending = Mutex<[UInt8]>([])
    /// Told when lines begin to gather.
    private let isPending: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation
    private let lost: Counters.Series
    private let totals: [Totals]

    /// The series of one direction and protection.
    private struct Totals: Sendable {
        let sent: Counters.Series
        let received: Counters.Series
        let complete: Counters.Series
        let failed: [ConnectionFailure.Kind: Counters.Series]
    }

    init(counters: Counters, format: LogLine.Format, level: Logger.Level) {
        self.format = format
        self.level = level
        (isPending, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        counters.describe(Name.closed, "Connections that ended, with how they were protected and why they failed.")
        counters.describe(Name.sent, "TCP payload bytes that workloads of this node sent.")
        counters.describe(Name.received, "TCP payload bytes that workloads of this node received.")
        counters.describe(Name.lost, "Connection records that were not logged because the log was too slow.")
        lost = counters.series(Name.lost)
        totals = ConnectionRecord.Direction.allCases.flatMap { direction in
            ConnectionRecord.Security.allCases.map { security in
                func series(_ name: String, _ flags: String? = nil) -> Counters.Series {
                    let (direction, security) = (direction.rawValue, security.rawValue)
                    guard let flags else {
                        return counters.series(
                            name, labels: ["direction": direction, "connection_security_policy": security])
                    }
                    return counters.series(
                        name,
                        labels: [
                            "direction": direction, "connection_security_policy": security, "response_flags": flags,
                        ])
                }
                let kinds = ConnectionFailure.Kind.allCases
                return Totals(
                    sent: series(Name.sent), received: series(Name.received), complete: series(Name.closed, "-"),
                    failed: kinds.reduce(into: [:]) { $0[$1] = series(Name.closed, $1.rawValue) })
            }
        }
    }

    private enum Name {
        static let closed = "culvert_tcp_connections_closed_total"
        static let sent = "culvert_tcp_sent_bytes_total"
        static let received = "culvert_tcp_received_bytes_total"
        static let lost = "culvert_access_log_records_dropped_total"
    }

    var sink: RecordSink { { [self] record in add(record) } }

    /// Until the task is cancelled, and then what is pending.
    func run() async {
        for await _ in isPending {
            // Those that end at the same time share a write.
            try? await Task.sleep(for: Self.interval)
            flush()
        }
        flush()
    }

    /// No more records come.
    func finish() { wake.finish() }

    private func flush() {
        let bytes = pending.withLock { pending in
            defer { pending = [] }
            return pending
        }
        if !bytes.isEmpty { LogOutput.write(bytes) }
    }

    private func add(_ record: ConnectionRecord) {
        count(record)
        guard level <= (record.failure == nil ? .info : .warning) else { return }
        let (isFirst, isDropped) = pending.withLock { pending in
            guard pending.count < Self.pendingMax else { return (false, true) }
            let isFirst = pending.isEmpty
            record.append(to: &pending, format)
            return (isFirst, false)
        }
        if isFirst { wake.yield() }
        if isDropped { lost.add() }
    }

    private func count(_ record: ConnectionRecord) {
        let totals = totals[record.direction.index * ConnectionRecord.Security.allCases.count + record.security.index]
        totals.sent.add(record.bytesSent)
        totals.received.add(record.bytesReceived)
        guard let failure = record.failure else { return totals.complete.add() }
        totals.failed[failure.kind]?.add(record.count)
    }
}

extension CaseIterable where Self: Equatable {
    fileprivate var index: Int {
        Self.allCases.distance(from: Self.allCases.startIndex, to: Self.allCases.firstIndex(of: self)!)
    }
}

extension ConnectionRecord {
    /// Keys are ztunnel's where it has the field.
    fileprivate func append(to bytes: inout [UInt8], _ format: LogLine.Format) {
        let line =
            failure == nil
            ? LogLine(format, level: "info", scope: "access", message: "connection complete", to: &bytes)
            : LogLine(format, level: "warning", scope: "access", message: "connection failed", to: &bytes)
        func add(_ key: String, _ value: String?) {
            if let value { line.add(key, value, to: &bytes) }
        }
        add("direction", direction.rawValue)
        add("src.addr", source?.description)
        add("src.identity", sourceIdentity?.description)
        add("dst.addr", destination?.description)
        add("dst.hbone_addr", authority)
        add("dst.identity", destinationIdentity?.description)
        add("dst.workload", destinationWorkload)
        add("dst.service", destinationService)
        add("pod", "\(pod.namespace)/\(pod.name)")
        add("security", security.rawValue)
        add("tls.version", tlsVersion)
        add("tls.cipher", cipher)
        line.add("bytes_sent", bytesSent, to: &bytes)
        line.add("bytes_recv", bytesReceived, to: &bytes)
        line.add("duration_ms", Int(duration / .milliseconds(1)), to: &bytes)
        add("response_flags", failure?.kind.rawValue)
        add("error", failure?.description)
        if count > 1 { line.add("count", count, to: &bytes) }
        line.end(&bytes)
    }
}
