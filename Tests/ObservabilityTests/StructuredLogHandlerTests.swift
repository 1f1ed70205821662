import Glibc
import Logging
import Synchronization
import Testing

@testable import Observability

@Suite("Log lines")
struct StructuredLogHandlerTests {
    private final class Lines: Sendable {
        let text = Mutex("")
    }

    private func line(_ format: StructuredLogHandler.Format, _ message: String, _ metadata: Logger.Metadata) -> String {
        let lines = Lines()
        let handler = StructuredLogHandler(
            label: "access", format: format, level: .info,
            now: { timespec(tv_sec: 1_700_000_000, tv_nsec: 1_234_567) },
            write: { line in lines.text.withLock { $0 += String(decoding: line, as: UTF8.self) } }
        )
        Logger(label: "access") { _ in handler }.info("\(message)", metadata: metadata)
        return lines.text.withLock { $0 }
    }

    @Test("are one JSON object each, with numbers as numbers and control characters escaped")
    func json() {
        let line = line(.json, "connection complete", ["bytes": .stringConvertible(7), "error": "a\n\"b\"\u{1b}[31m"])
        #expect(
            line
                == #"{"time":"2023-11-14T22:13:20.001234Z","level":"info","scope":"access","msg":"connection complete","#
                + #""bytes":7,"error":"a\n\"b\"\u001b[31m"}"# + "\n"
        )
    }

    @Test("as text never hold a control character that a peer sent")
    func text() {
        let line = line(.text, "hello\nforged line", ["k": "v w", "n": "\u{7}"])
        #expect(line == "2023-11-14T22:13:20.001234Z info access: hello\\nforged line k=\"v w\" n=\\u0007\n")
    }
}
