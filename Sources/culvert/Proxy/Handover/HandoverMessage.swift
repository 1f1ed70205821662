import IPAddressing

/// What two proxies of a node say to each other when one takes over from the other: a packet each, of a word and what follows
/// after one space.
///
/// The successor begins with `hello`, asks for the `listeners` of each pod that it is given, and says `ready` when it serves
/// them all. The predecessor answers `hello` with `hello`, and a question with any number of `listener`, each with the socket,
/// and an `end`. The connection stays open as long as both live: when it ends, the other side is gone.
enum HandoverMessage: Equatable {
    case hello(version: Int)
    case listeners(podUID: String)
    case listener(SocketAddress)
    case end
    case ready

    static let version = 1
    /// In bytes of UTF-8.
    private static let uidMax = 1024

    var bytes: [UInt8] {
        switch self {
        case .hello(let version): Array("hello \(version)".utf8)
        case .listeners(let uid): Array("listeners \(uid)".utf8)
        case .listener(let address): Array("listener \(address)".utf8)
        case .end: Array("end".utf8)
        case .ready: Array("ready".utf8)
        }
    }

    /// `nil` for anything that `bytes` does not produce.
    init?(_ bytes: [UInt8]) {
        guard let text = String(validating: bytes, as: UTF8.self), let message = Self.parse(text),
            message.bytes == bytes
        else { return nil }
        self = message
    }

    private static func parse(_ text: String) -> HandoverMessage? {
        let parts = text.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        let rest = parts.count == 2 ? String(parts[1]) : ""
        switch parts[0] {
        case "hello": return Int(rest).map { .hello(version: $0) }
        case "listeners": return (1...uidMax).contains(rest.utf8.count) ? .listeners(podUID: rest) : nil
        case "listener": return SocketAddress(rest).map { .listener($0) }
        case "end": return .end
        case "ready": return .ready
        default: return nil
        }
    }
}

/// The conversation went wrong; the text says how.
struct HandoverError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
