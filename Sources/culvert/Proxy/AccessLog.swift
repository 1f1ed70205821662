import Dataplane
import Logging
import Observability

/// The proxy's connection records, as log lines and as counters.
///
/// Records come from the event loops, which never wait: what this cannot keep up with is dropped and counted.
final class AccessLog: Sendable {
    private static let queueMax = 10_000
    private let records: AsyncStream<ConnectionRecord>
    private let queue: AsyncStream<ConnectionRecord>.Continuation
    private let counters: Counters
    private let logger = Logger(label: "access")

    init(counters: Counters) {
        self.counters = counters
        (records, queue) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.queueMax))
        counters.describe(Name.closed, "Connections that ended, with how they were protected and why they failed.")
        counters.describe(Name.sent, "TCP payload bytes that workloads of this node sent.")
        counters.describe(Name.received, "TCP payload bytes that workloads of this node received.")
        counters.describe(Name.lost, "Connection records that were not logged because the log was too slow.")
    }

    private enum Name {
        static let closed = "culvert_tcp_connections_closed_total"
        static let sent = "culvert_tcp_sent_bytes_total"
        static let received = "culvert_tcp_received_bytes_total"
        static let lost = "culvert_access_log_records_dropped_total"
    }

    var sink: RecordSink {
        { [queue, counters] record in
            if case .dropped = queue.yield(record) { counters.add(to: Name.lost) }
        }
    }

    /// Until the task is cancelled, and then what is queued.
    func run() async {
        for await record in records { write(record) }
    }

    /// No more records come.
    func finish() { queue.finish() }

    private func write(_ record: ConnectionRecord) {
        let direction = record.direction.rawValue
        let security = record.security.rawValue
        counters.add(
            to: Name.closed,
            labels: [
                "direction": direction, "connection_security_policy": security,
                "response_flags": record.failure?.kind.rawValue ?? "-",
            ])
        counters.add(
            record.bytesSent, to: Name.sent, labels: ["direction": direction, "connection_security_policy": security])
        counters.add(
            record.bytesReceived, to: Name.received,
            labels: ["direction": direction, "connection_security_policy": security])
        if record.failure == nil {
            logger.info("connection complete", metadata: record.fields)
        } else {
            logger.warning("connection failed", metadata: record.fields)
        }
    }
}

extension ConnectionRecord {
    /// Keys are ztunnel's where it has the field.
    fileprivate var fields: Logger.Metadata {
        var fields: Logger.Metadata = [
            "direction": "\(direction.rawValue)", "security": "\(security.rawValue)",
            "bytes_sent": .stringConvertible(bytesSent), "bytes_recv": .stringConvertible(bytesReceived),
            "duration_ms": .stringConvertible(Int(duration / .milliseconds(1))), "pod": "\(pod.namespace)/\(pod.name)",
        ]
        func add(_ key: String, _ value: (some CustomStringConvertible)?) {
            if let value { fields[key] = "\(value)" }
        }
        add("src.addr", source)
        add("src.identity", sourceIdentity)
        add("dst.addr", destination)
        add("dst.hbone_addr", authority)
        add("dst.identity", destinationIdentity)
        add("dst.workload", destinationWorkload)
        add("dst.service", destinationService)
        add("tls.version", tlsVersion)
        add("tls.cipher", cipher)
        add("error", failure)
        add("response_flags", failure?.kind.rawValue)
        return fields
    }
}
