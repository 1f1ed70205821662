internal import CPostgreSQL
internal import Glibc

/// One connection, used by one thread at a time. Its calls block, each for `answerTimeout` at most.
///
/// Statements are literals of the program: what varies is bound. After `lost` the connection is of no more use.
public final class PostgreSQLConnection {
    /// What is set when the connection is made, by `set_config`.
    public typealias Settings = [(name: String, value: String)]

    private let handle: OpaquePointer
    private let answerTimeout: Duration
    /// It may not be where the protocol says it is.
    private(set) var isBroken = false

    /// Connects, for as long as the address's `connect_timeout` says.
    public init(
        _ address: PostgreSQLAddress, settings: Settings = [], answerTimeout: Duration
    ) throws(PostgreSQLError) {
        self.answerTimeout = answerTimeout
        let connection = Self.connect(address.parameters)
        guard let connection else { throw .unreachable("out of memory") }
        handle = connection
        guard libpq_status(handle) == CONNECTION_OK else { throw .unreachable(Self.message(of: handle)) }
        libpq_ignoreNotices(handle)
        guard libpq_setnonblocking(handle, 1) == 0 else { throw .unreachable(Self.message(of: handle)) }
        for setting in settings {
            try execute("SELECT set_config($1, $2, false)", [.text(setting.name), .text(setting.value)])
        }
    }

    deinit { libpq_finish(handle) }

    private static func connect(_ parameters: [(keyword: String, value: String)]) -> OpaquePointer? {
        let texts = parameters.flatMap { [strdup($0.keyword), strdup($0.value)] }
        defer {
            for text in texts {
                // A password may be among them.
                if let text { explicit_bzero(text, strlen(text)) }
                free(text)
            }
        }
        let keywords = stride(from: 0, to: texts.count, by: 2).map { UnsafePointer(texts[$0]) } + [nil]
        let values = stride(from: 1, to: texts.count, by: 2).map { UnsafePointer(texts[$0]) } + [nil]
        return libpq_connectdbParams(keywords, values, 0)
    }

    // MARK: Statements

    /// Runs one statement; outside a transaction it is one of its own.
    @discardableResult
    public func execute(
        _ statement: StaticString, _ values: [PostgreSQLValue] = []
    ) throws(PostgreSQLError) -> PostgreSQLResult {
        try run(statement, values, decides: libpq_transactionStatus(handle) == PQTRANS_IDLE)
    }

    /// Runs statements that return nothing, all or none of them outside a transaction.
    public func executeScript(_ statements: StaticString) throws(PostgreSQLError) {
        try executeText(String(describing: statements))
    }

    /// For tests, whose statements have names of their own making in them.
    package func executeText(_ statements: String) throws(PostgreSQLError) {
        let decides = libpq_transactionStatus(handle) == PQTRANS_IDLE
        guard libpq_sendQuery(handle, statements) == 1 else { throw broken(outcomeUnknown: false) }
        _ = try result(decides: decides)
    }

    public enum Transaction: Sendable {
        /// One state of the database for all of its statements; writes nothing.
        case reading
        /// Each statement sees what is committed when it begins.
        case writing
    }

    /// Runs `body` in a transaction: all of it or nothing.
    public func transaction<Value>(
        _ kind: Transaction, _ body: (PostgreSQLConnection) throws -> Value
    ) throws -> Value {
        switch kind {
        case .reading: try run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", [], decides: false)
        case .writing: try run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", [], decides: false)
        }
        let value: Value
        do {
            value = try body(self)
        } catch {
            if !isBroken { _ = try? run("ROLLBACK", [], decides: false) }
            throw error
        }
        let end = try run("COMMIT", [], decides: kind == .writing)
        // What the body hid from us.
        guard end.command == "COMMIT" else { throw PostgreSQLError.unreadable("a statement failed before COMMIT") }
        return value
    }

    /// `decides`: if no answer comes, what was asked may have become durable.
    @discardableResult
    private func run(
        _ statement: StaticString, _ values: [PostgreSQLValue], decides: Bool
    ) throws(PostgreSQLError) -> PostgreSQLResult {
        precondition(statement.hasPointerRepresentation, "a statement is more than one character")
        guard !isBroken else { throw .lost("it was lost before", outcomeUnknown: false) }
        guard send(statement, values) else { throw broken(outcomeUnknown: false) }
        return try result(decides: decides)
    }

    private func send(_ statement: StaticString, _ values: [PostgreSQLValue]) -> Bool {
        let fields = values.map(\.encoded)
        // One buffer for all, never empty, so that an empty value is not taken for null.
        let buffer = Array(fields.compactMap(\.self).joined()) + [0]
        return buffer.withUnsafeBytes { buffer in
            var start = 0
            let pointers = fields.map { field -> UnsafePointer<CChar>? in
                guard let field else { return nil }
                defer { start += field.count }
                return buffer.baseAddress?.advanced(by: start).assumingMemoryBound(to: CChar.self)
            }
            return statement.utf8Start.withMemoryRebound(to: CChar.self, capacity: statement.utf8CodeUnitCount + 1) {
                libpq_sendQueryParams(
                    handle, $0, Int32(values.count), values.map(\.typeID), pointers,
                    fields.map { Int32($0?.count ?? 0) },
                    fields.map { _ in 1 }, 1)
            } == 1
        }
    }

    /// The outcome of what has been sent: of several statements the last one's, or the first failure.
    private func result(decides: Bool) throws(PostgreSQLError) -> PostgreSQLResult {
        let deadline = ContinuousClock.now + answerTimeout
        var last: PostgreSQLResult?
        var failure: PostgreSQLError?
        while true {
            // Who says that the statement failed, and goes, has not done it: a server that shuts down, or an administrator's cut.
            let isUndone = failure != nil && last == nil
            try waitForAnswer(deadline, decides: decides && !isUndone)
            guard let result = libpq_getResult(handle) else { break }
            defer { libpq_clear(result) }
            switch libpq_resultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK: last = Self.read(result)
            case PGRES_EMPTY_QUERY: break
            default: failure = failure ?? Self.failure(result)
            }
        }
        // A server that shuts down says so first, as the statement's failure: after a result it may have committed, too.
        guard libpq_status(handle) == CONNECTION_OK else {
            throw broken(outcomeUnknown: decides && (failure == nil || last != nil), failure.map(\.description))
        }
        if let failure { throw failure }
        return last ?? PostgreSQLResult(rows: [], count: 0, command: "")
    }

    private func waitForAnswer(_ deadline: ContinuousClock.Instant, decides: Bool) throws(PostgreSQLError) {
        while true {
            let unsent = libpq_flush(handle)
            guard unsent >= 0 else { throw broken(outcomeUnknown: decides) }
            if unsent == 0, libpq_isBusy(handle) == 0 { return }
            let left = deadline - ContinuousClock.now
            guard left > .zero else {
                throw broken(outcomeUnknown: decides, "no answer within \(answerTimeout.components.seconds)s")
            }
            _ = wait(for: unsent == 0 ? POLLIN : POLLIN | POLLOUT, left)
            guard libpq_consumeInput(handle) == 1 else { throw broken(outcomeUnknown: decides) }
        }
    }

    /// Whether something may be read or written, or the connection has ended.
    private func wait(for events: Int32, _ time: Duration) -> Bool {
        var descriptor = pollfd(fd: libpq_socket(handle), events: Int16(events), revents: 0)
        let (seconds, attoseconds) = time.components
        // Rounded up: a last fraction of a millisecond is not spun away.
        let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1
        return poll(&descriptor, 1, Int32(clamping: milliseconds)) > 0
    }

    private func broken(outcomeUnknown: Bool, _ reason: String? = nil) -> PostgreSQLError {
        isBroken = true
        return .lost(reason ?? Self.message(of: handle), outcomeUnknown: outcomeUnknown)
    }

    /// While it was idle the server may have ended it: it has nothing else to say to who has asked nothing.
    func isStale() -> Bool {
        isBroken || libpq_status(handle) != CONNECTION_OK || wait(for: POLLIN, .zero)
    }

    // MARK: Notifications

    /// What somebody said to all who listen to a channel.
    public struct Notification: Sendable, Equatable {
        public let channel: String
        public let payload: String
    }

    /// Waits, for `time` at most, for something on a channel that has been listened to.
    public func notifications(within time: Duration) throws(PostgreSQLError) -> [Notification] {
        let pending = taken()
        guard pending.isEmpty, wait(for: POLLIN, time) else { return pending }
        guard libpq_consumeInput(handle) == 1, libpq_status(handle) == CONNECTION_OK else {
            throw broken(outcomeUnknown: false)
        }
        return taken()
    }

    private func taken() -> [Notification] {
        var taken: [Notification] = []
        while let next = libpq_notifies(handle) {
            taken.append(
                Notification(
                    channel: String(cString: next.pointee.relname), payload: String(cString: next.pointee.extra)))
            libpq_freemem(next)
        }
        return taken
    }

    // MARK: Results

    private static func read(_ result: OpaquePointer) -> PostgreSQLResult {
        let columns = libpq_nfields(result)
        let types = (0..<columns).map { libpq_ftype(result, $0) }
        let rows = (0..<libpq_ntuples(result)).map { row in
            PostgreSQLRow(
                types: types,
                fields: (0..<columns).map { column in
                    guard libpq_getisnull(result, row, column) == 0, let value = libpq_getvalue(result, row, column)
                    else {
                        return nil
                    }
                    return Array(UnsafeRawBufferPointer(start: value, count: Int(libpq_getlength(result, row, column))))
                })
        }
        let command = libpq_cmdStatus(result).map { String(cString: $0) } ?? ""
        return PostgreSQLResult(
            rows: rows, count: libpq_cmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0, command: command)
    }

    private static func failure(_ result: OpaquePointer) -> PostgreSQLError {
        let message = libpq_primaryMessage(result).map { String(cString: $0) }
        guard let state = libpq_sqlstate(result) else {
            return .unreadable(message ?? libpq_resultErrorMessage(result).map { String(cString: $0) } ?? "no result")
        }
        return .refused(
            SQLState(String(cString: state)), message ?? "refused",
            constraint: libpq_constraintName(result).map { String(cString: $0) })
    }

    /// libpq's words on one line.
    private static func message(of handle: OpaquePointer) -> String {
        let text = libpq_errorMessage(handle).map { String(cString: $0) } ?? ""
        let lines = text.split(separator: "\n").map { $0.trimmingPrefix { $0 == " " || $0 == "\t" } }
        return lines.isEmpty ? "the connection ended" : lines.joined(separator: "; ")
    }
}
