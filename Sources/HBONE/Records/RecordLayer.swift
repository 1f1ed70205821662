import COpenSSL

/// TLS 1.3 records after the handshake (RFC 8446 section 5), both directions, without I/O.
struct RecordLayer: ~Copyable {
    enum Next {
        case content(UnsafeMutableRawBufferPointer)
        case needsInput
        case closeNotify
        /// The peer sent this fatal alert.
        case alert(Int32)
        /// The peer broke the protocol: the alert to send, and why.
        case broken(alert: UInt8, String)
    }

    /// Of a record, in bytes, header not counted (RFC 8446 5.2).
    private static let ciphertextMax = RecordCipher.contentMax + 256
    /// Records in a row that bring no content: empty ones, KeyUpdates, tickets.
    private static let idleRecordsMax = 64

    private var sending: RecordProtection
    private var receiving: RecordProtection
    private var postHandshake: PostHandshake
    private var idleRecords = 0
    private var owesKeyUpdate = false

    init(
        isClient: Bool, _ suite: TLSCipherSuite, sending: consuming TrafficSecret, receiving: consuming TrafficSecret,
        vectorAES: Bool
    ) {
        self.sending = RecordProtection(suite, secret: sending, seals: true, vectorAES: vectorAES)
        self.receiving = RecordProtection(suite, secret: receiving, seals: false, vectorAES: vectorAES)
        postHandshake = PostHandshake(isClient: isClient)
    }

    // MARK: Receiving

    /// Takes whole records from the front of `input`, which are decrypted there, until one has content.
    mutating func next(_ input: inout UnsafeMutableRawBufferPointer) -> Next {
        while input.count >= RecordCipher.headerCount, let record = input.baseAddress {
            guard record.load(as: UInt8.self) == ContentType.applicationData else {
                return .broken(alert: Alert.unexpectedMessage, "a record that is not encrypted, after the handshake")
            }
            let count = Int(UInt16(bigEndian: (record + 3).loadUnaligned(as: UInt16.self)))
            guard count <= Self.ciphertextMax else {
                return .broken(alert: Alert.recordOverflow, "a record is too long")
            }
            guard input.count >= RecordCipher.headerCount &+ count else { break }
            input = UnsafeMutableRawBufferPointer(rebasing: input[(RecordCipher.headerCount &+ count)...])
            if let next = open(record, count) { return next }
        }
        return .needsInput
    }

    private mutating func open(_ record: UnsafeMutableRawPointer, _ count: Int) -> Next? {
        guard var last = receiving.cipher.open(record, count: count) else {
            return .broken(alert: Alert.badRecordMAC, "a record was forged or damaged")
        }
        let bytes = (record + RecordCipher.headerCount).assumingMemoryBound(to: UInt8.self)
        // Padding is zeros behind the type.
        repeat { last &-= 1 } while last >= 0 && bytes[last] == 0
        guard last >= 0 else { return .broken(alert: Alert.unexpectedMessage, "a record without a content type") }
        guard last <= RecordCipher.contentMax else {
            return .broken(alert: Alert.recordOverflow, "the content of a record is too long")
        }
        let content = UnsafeMutableRawBufferPointer(start: bytes, count: last)
        if bytes[last] == ContentType.applicationData, !postHandshake.isPartial {
            if last == 0 { return countIdle() }
            idleRecords = 0
            return .content(content)
        }
        return other(type: bytes[last], UnsafeRawBufferPointer(content)) ?? countIdle()
    }

    private mutating func countIdle() -> Next? {
        idleRecords += 1
        guard idleRecords > Self.idleRecordsMax else { return nil }
        return .broken(
            alert: Alert.unexpectedMessage, "more than \(Self.idleRecordsMax) records in a row without content")
    }

    /// Alerts and handshake messages; `nil` when there is nothing to tell.
    private mutating func other(type: UInt8, _ content: UnsafeRawBufferPointer) -> Next? {
        switch type {
        case ContentType.alert where !postHandshake.isPartial:
            guard content.count == 2 else { return .broken(alert: Alert.decodeError, "an alert that is not two bytes") }
            // The level is of no meaning in TLS 1.3 (RFC 8446 6).
            switch content[1] {
            case Alert.closeNotify: return .closeNotify
            case Alert.userCanceled: return nil
            default: return .alert(Int32(content[1]))
            }
        case ContentType.handshake:
            switch postHandshake.take(content) {
            case .none: return nil
            case .unexpected:
                return .broken(
                    alert: Alert.unexpectedMessage, "a handshake message that has no place after the handshake")
            case .malformed: return .broken(alert: Alert.decodeError, "a malformed handshake message")
            case .keyUpdate(let requested):
                receiving.update()
                if requested { owesKeyUpdate = true }
                return nil
            }
        default: return .broken(alert: Alert.unexpectedMessage, "a record of unexpected type \(type)")
        }
    }

    // MARK: Sending

    /// Seals the record of application data; returns its length.
    mutating func seal(_ record: UnsafeMutableRawPointer, count: Int) -> Int {
        sending.cipher.seal(record, count: count, type: ContentType.applicationData)
    }

    /// When the peer asked for it, or a key has protected enough. Not while a record is open.
    mutating func updateKeysIfDue(_ output: inout CiphertextQueue) {
        guard owesKeyUpdate || sending.cipher.sequence >= RecordProtection.recordsPerKeyMax else { return }
        owesKeyUpdate = false
        sendKeyUpdate(requesting: false, to: &output)
    }

    /// New keys here, and the peer is asked for new ones of its own.
    mutating func requestKeyUpdate(_ output: inout CiphertextQueue) { sendKeyUpdate(requesting: true, to: &output) }

    /// One byte long (RFC 8446 4.6.3).
    private mutating func sendKeyUpdate(requesting: Bool, to output: inout CiphertextQueue) {
        send([24, 0, 0, 1, requesting ? 1 : 0], type: ContentType.handshake, to: &output)
        sending.update()
    }

    mutating func sendAlert(_ alert: UInt8, to output: inout CiphertextQueue) {
        send([2, alert], type: ContentType.alert, to: &output)
    }

    mutating func sendCloseNotify(to output: inout CiphertextQueue) {
        send([1, Alert.closeNotify], type: ContentType.alert, to: &output)
    }

    private mutating func send(_ content: [UInt8], type: UInt8, to output: inout CiphertextQueue) {
        let room = output.roomAtEnd(atLeast: content.count + RecordCipher.overhead)
        guard let record = room.baseAddress else { return }
        content.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: room[RecordCipher.headerCount...]).copyMemory(from: $0)
        }
        output.advance(sending.cipher.seal(record, count: content.count, type: type))
    }

    private enum Alert {
        static let closeNotify: UInt8 = 0
        static let unexpectedMessage: UInt8 = 10
        static let badRecordMAC: UInt8 = 20
        static let recordOverflow: UInt8 = 22
        static let decodeError: UInt8 = 50
        static let userCanceled: UInt8 = 90
    }
}
