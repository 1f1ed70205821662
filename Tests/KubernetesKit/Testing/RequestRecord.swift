internal import Synchronization

/// One request, as it was decided.
public struct RequestRecord: Sendable, Hashable {
    public let verb: String
    public let path: String
    /// The query, as it was sent; empty where there was none.
    public let query: [String: String]
    public let group: String
    public let resource: String
    public let subresource: String
    public let namespace: String
    public let name: String
    public let user: String
    public let userAgent: String
    public let contentType: String
    public let code: Int
}

/// What was asked, in order; the last of them, where there were very many.
final class RequestLog: Sendable {
    private static let countMax = 200_000
    private let records = Mutex<[RequestRecord]>([])

    func add(_ record: RequestRecord) {
        records.withLock { records in
            if records.count >= Self.countMax { records.removeFirst(Self.countMax / 2) }
            records.append(record)
        }
    }

    var all: [RequestRecord] { records.withLock { $0 } }
    func clear() { records.withLock { $0 = [] } }
}
