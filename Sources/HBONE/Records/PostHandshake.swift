/// Reads the handshake messages that a peer may send after the handshake (RFC 8446 4.6), in any pieces.
///
/// Tickets are of no use to us and skipped; keys may be updated; everything else is unexpected.
struct PostHandshake {
    enum Event: Equatable {
        case none
        case keyUpdate(requested: Bool)
        case unexpected
        case malformed
    }

    private enum MessageType {
        static let newSessionTicket: UInt8 = 4
        static let keyUpdate: UInt8 = 24
    }

    /// A ticket with extensions is some hundred bytes; OpenSSL's limit is about this.
    private static let ticketCountMax = 32 << 10

    let isClient: Bool
    private var header: UInt32 = 0
    private var headerCount = 0
    private var type: UInt8 = 0
    /// Of the message's body, still to come.
    private var left = 0
    private var request: UInt8 = 0

    init(isClient: Bool) { self.isClient = isClient }

    /// In the middle of a message: no other type of record may come now (RFC 8446 5.1).
    var isPartial: Bool { headerCount > 0 }

    /// The content of one handshake record. A KeyUpdate must be the last message of its record.
    mutating func take(_ content: UnsafeRawBufferPointer) -> Event {
        guard !content.isEmpty else { return .unexpected }
        var event = Event.none
        for byte in content {
            guard event == .none else { return .unexpected }
            if headerCount < 4 {
                header = header << 8 | UInt32(byte)
                headerCount += 1
                guard headerCount == 4 else { continue }
                type = UInt8(header >> 24)
                left = Int(header & 0xff_ffff)
                if let flaw { return flaw }
            } else {
                request = byte
                left -= 1
            }
            if left == 0 {
                headerCount = 0
                event = ended
            }
            if event == .malformed { return event }
        }
        return event
    }

    private var flaw: Event? {
        switch type {
        case MessageType.newSessionTicket where isClient: left <= Self.ticketCountMax && left > 0 ? nil : .malformed
        case MessageType.keyUpdate: left == 1 ? nil : .malformed
        default: .unexpected
        }
    }

    private var ended: Event {
        guard type == MessageType.keyUpdate else { return .none }
        return request <= 1 ? .keyUpdate(requested: request == 1) : .malformed
    }
}
