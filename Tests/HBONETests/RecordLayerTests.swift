import Glibc
import SeededRandom
import Testing

@testable import HBONE

extension TrafficSecret {
    fileprivate init(repeating byte: UInt8, count: Int) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: byte)
        self.init(UnsafeRawBufferPointer(bytes))
    }
}

/// Two ends of one connection after its handshake, without the handshake.
private struct Ends: ~Copyable {
    var client: RecordLayer
    var server: RecordLayer
    var toServer = CiphertextQueue()

    init(_ suite: TLSCipherSuite = .aes128GCM, vectorAES: Bool = true) {
        func secret(_ byte: UInt8) -> TrafficSecret { TrafficSecret(repeating: byte, count: suite.hashCount) }
        client = RecordLayer(isClient: true, suite, sending: secret(1), receiving: secret(2), vectorAES: vectorAES)
        server = RecordLayer(isClient: false, suite, sending: secret(2), receiving: secret(1), vectorAES: vectorAES)
    }

    /// A record of application data from the client.
    mutating func record(_ content: [UInt8]) -> [UInt8] {
        var record = [UInt8](repeating: 0, count: content.count + RecordCipher.overhead)
        record.replaceSubrange(RecordCipher.headerCount..<RecordCipher.headerCount + content.count, with: content)
        let count = record.withUnsafeMutableBytes { client.seal($0.baseAddress!, count: content.count) }
        #expect(count == record.count)
        return record
    }

    /// What the server makes of the bytes, one result after the other, until it needs more.
    mutating func receive(_ bytes: [UInt8]) -> [Outcome] {
        var bytes = bytes
        var outcomes: [Outcome] = []
        bytes.withUnsafeMutableBytes { buffer in
            var input = buffer
            while true {
                switch server.next(&input) {
                case .content(let content): outcomes.append(.content(Array(content)))
                case .closeNotify: outcomes.append(.closeNotify)
                case .alert(let alert): outcomes.append(.alert(alert))
                case .broken(let alert, _): return outcomes.append(.broken(alert))
                case .needsInput: return outcomes.append(.needsInput(left: input.count))
                }
            }
        }
        return outcomes
    }
}

private enum Outcome: Equatable {
    case content([UInt8])
    case closeNotify
    case alert(Int32)
    case broken(UInt8)
    case needsInput(left: Int)
}

/// Records of any type and padding, as a foreign end would make them.
private struct ForeignEnd: ~Copyable {
    private var cipher: RecordCipher

    init() {
        let secret = TrafficSecret(repeating: 1, count: 32)
        cipher = RecordCipher(.aes128GCM, secret: secret, seals: true, vector: nil)
    }

    mutating func record(_ content: [UInt8], type: UInt8?, padding: Int = 0) -> [UInt8] {
        // The cipher adds one byte of type: a padded record's own type stands in its content, and that byte is padding.
        let inner = type.map { content + [$0] } ?? content
        let padded = inner + [UInt8](repeating: 0, count: padding)
        let (body, last) = (Array(padded.dropLast()), padded.last ?? 0)
        var record = [UInt8](repeating: 0, count: body.count + RecordCipher.overhead)
        record.replaceSubrange(RecordCipher.headerCount..<RecordCipher.headerCount + body.count, with: body)
        _ = record.withUnsafeMutableBytes { cipher.seal($0.baseAddress!, count: body.count, type: last) }
        return record
    }
}

@Suite struct RecordLayerTests {
    static let layers: [(TLSCipherSuite, Bool)] = TLSCipherSuite.allCases.flatMap { [($0, true), ($0, false)] }

    @Test("content of every size arrives, under every cipher suite and library", arguments: layers)
    func sizes(suite: TLSCipherSuite, vectorAES: Bool) {
        var ends = Ends(suite, vectorAES: vectorAES)
        var random = SeededGenerator(seed: 3)
        for size in [1, 2, 15, 16, 17, 31, 32, 33, 1000, 4096, 16383, 16384] {
            let content = random.bytes(size)
            let record = ends.record(content)
            #expect(ends.receive(record) == [.content(content), .needsInput(left: 0)])
        }
    }

    @Test("both libraries make the same records", arguments: [TLSCipherSuite.aes128GCM, .aes256GCM])
    func libraries(suite: TLSCipherSuite) {
        var vector = Ends(suite, vectorAES: true)
        var portable = Ends(suite, vectorAES: false)
        for size in [1, 100, 16384] {
            let content = [UInt8](repeating: 7, count: size)
            #expect(vector.record(content) == portable.record(content))
        }
    }

    @Test("a record is opened when its last byte has come, and not before")
    func split() {
        var ends = Ends()
        let record = ends.record([1, 2, 3])
        for count in 0..<record.count {
            #expect(ends.receive(Array(record[..<count])) == [.needsInput(left: count)])
        }
        #expect(ends.receive(record + [23, 3]) == [.content([1, 2, 3]), .needsInput(left: 2)])
    }

    @Test("a record with any byte changed is refused")
    func forged() {
        let count = RecordCipher.overhead + 3
        for index in 0..<count {
            var ends = Ends()
            var record = ends.record([1, 2, 3])
            record[index] ^= 0x80
            let outcome = ends.receive(record)
            switch index {
            // The type; the length, which is too large or more than came.
            case 0: #expect(outcome == [.broken(10)])
            case 3: #expect(outcome == [.broken(22)])
            case 4: #expect(outcome == [.needsInput(left: count)])
            default: #expect(outcome == [.broken(20)], "byte \(index)")
            }
        }
    }

    @Test("records out of order, or twice, are refused")
    func replayed() {
        var ends = Ends()
        let (first, second) = (ends.record([1]), ends.record([2]))
        #expect(ends.receive(second) == [.broken(20)])
        var others = Ends()
        let record = others.record([1])
        #expect(others.receive(record) == [.content([1]), .needsInput(left: 0)])
        #expect(others.receive(record) == [.broken(20)])
        _ = first
    }

    @Test("padding is taken off")
    func padding() {
        for padding in [0, 1, 200, 16000] {
            var ends = Ends()
            var peer = ForeignEnd()
            let record = peer.record([5, 0, 0], type: ContentType.applicationData, padding: padding)
            #expect(ends.receive(record) == [.content([5, 0, 0]), .needsInput(left: 0)])
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let content: [UInt8]
        var type: UInt8?
        var padding = 0
        let alert: UInt8

        var testDescription: String { name }
    }

    @Test(
        "what RFC 8446 forbids ends the connection with its alert",
        arguments: [
            Case(name: "zeros alone", content: [0, 0, 0, 0], type: nil, alert: 10),
            Case(name: "more than 2^14 bytes", content: [UInt8](repeating: 1, count: 16385), type: 23, alert: 22),
            Case(name: "change_cipher_spec", content: [1], type: 20, alert: 10),
            Case(name: "a type that nobody knows", content: [1], type: 99, alert: 10),
            Case(name: "an alert of one byte", content: [2], type: 21, alert: 50),
            Case(name: "an alert of three bytes", content: [2, 40, 0], type: 21, alert: 50),
            Case(name: "an empty handshake record", content: [], type: 22, alert: 10),
            Case(name: "a ClientHello", content: [1, 0, 0, 1, 0], type: 22, alert: 10),
            Case(name: "a ticket for a server", content: [4, 0, 0, 1, 0], type: 22, alert: 10),
            Case(name: "a KeyUpdate of two bytes", content: [24, 0, 0, 2, 0, 0], type: 22, alert: 50),
            Case(name: "a KeyUpdate that asks for 2", content: [24, 0, 0, 1, 2], type: 22, alert: 50),
            Case(name: "a message behind a KeyUpdate", content: [24, 0, 0, 1, 0, 24], type: 22, alert: 10),
        ])
    func forbidden(_ broken: Case) {
        var ends = Ends()
        var peer = ForeignEnd()
        let record = peer.record(broken.content, type: broken.type, padding: broken.padding)
        #expect(ends.receive(record) == [.broken(broken.alert)])
    }

    @Test("a record that is not encrypted, or too long, is refused by its header")
    func headers() {
        var ends = Ends()
        #expect(ends.receive([21, 3, 3, 0, 2, 2, 40]) == [.broken(10)])
        #expect(ends.receive([20, 3, 3, 0, 1, 1]) == [.broken(10)])
        #expect(ends.receive([23, 3, 3, 0x41, 0x01]) == [.broken(22)])
        #expect(ends.receive([23, 3, 3, 0, 16] + [UInt8](repeating: 0, count: 16)) == [.broken(20)])
    }

    @Test("alerts are told, but for user_canceled, which close_notify follows")
    func alerts() {
        var ends = Ends()
        var peer = ForeignEnd()
        let canceled = peer.record([1, 90], type: 21)
        let closed = peer.record([1, 0], type: 21)
        #expect(ends.receive(canceled + closed) == [.closeNotify, .needsInput(left: 0)])
        let fatal = peer.record([2, 42], type: 21)
        #expect(ends.receive(fatal).first == .alert(42))
    }

    @Test("empty records are taken, but not for ever")
    func emptyRecords() {
        var ends = Ends()
        var peer = ForeignEnd()
        for _ in 0..<10 {
            for _ in 0..<64 {
                let record = peer.record([], type: 23)
                #expect(ends.receive(record) == [.needsInput(left: 0)])
            }
            let record = peer.record([1], type: 23)
            #expect(ends.receive(record) == [.content([1]), .needsInput(left: 0)])
        }
        var outcome: [Outcome] = []
        for _ in 0..<65 { outcome = ends.receive(peer.record([], type: 23)) }
        #expect(outcome == [.broken(10)])
    }

    @Test("keys change on both sides, again and again, without losing a byte", arguments: layers)
    func keyUpdates(suite: TLSCipherSuite, vectorAES: Bool) {
        var ends = Ends(suite, vectorAES: vectorAES)
        for round in UInt8(0)..<50 {
            Self.keyUpdateRequest(&ends)
            let record = ends.record([round])
            #expect(ends.receive(record) == [.content([round]), .needsInput(left: 0)])
        }
    }

    /// The server asks the client for new keys, and gets the client's KeyUpdate.
    private static func keyUpdateRequest(_ ends: inout Ends) {
        var asked = CiphertextQueue()
        ends.server.requestKeyUpdate(&asked)
        var bytes = Self.bytes(of: &asked)
        bytes.withUnsafeMutableBytes { buffer in
            var input = buffer
            guard case .needsInput = ends.client.next(&input) else { return #expect(Bool(false), "no KeyUpdate") }
        }
        ends.client.updateKeysIfDue(&ends.toServer)
        let answer = Self.bytes(of: &ends.toServer)
        #expect(!answer.isEmpty)
        #expect(ends.receive(answer) == [.needsInput(left: 0)])
    }

    private static func bytes(of queue: inout CiphertextQueue) -> [UInt8] {
        var bytes: [UInt8] = []
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: 8) { spans in
            for span in spans[..<queue.front(spans)] {
                bytes += UnsafeRawBufferPointer(start: span.iov_base, count: span.iov_len)
            }
        }
        queue.removeFirst(bytes.count)
        return bytes
    }

    @Test("noise never does more than end the connection")
    func noise() {
        var random = SeededGenerator(seed: 11)
        for _ in 0..<2000 {
            var ends = Ends()
            var bytes = random.bytes(Int.random(in: 0...600, using: &random))
            if bytes.count > 5, Bool.random(using: &random) {
                bytes.replaceSubrange(0..<5, with: [23, 3, 3, 0, UInt8.random(in: 0...255, using: &random)])
            }
            for outcome in ends.receive(bytes) {
                if case .content = outcome { Issue.record("noise was taken for content") }
            }
        }
    }
}

@Suite struct PostHandshakeTests {
    @Test("messages are read in any pieces", arguments: [true, false])
    func pieces(isClient: Bool) {
        let ticket: [UInt8] = [4, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        let update: [UInt8] = [24, 0, 0, 1, 1]
        let message = isClient ? ticket + update : update
        for cut in 1..<message.count {
            var reader = PostHandshake(isClient: isClient)
            let first = message[..<cut].withUnsafeBytes { reader.take($0) }
            #expect(first == .none, "cut at \(cut)")
            #expect(reader.isPartial == (cut != ticket.count || !isClient))
            #expect(message[cut...].withUnsafeBytes { reader.take($0) } == .keyUpdate(requested: true))
            #expect(!reader.isPartial)
        }
    }

    @Test("application data in the middle of a handshake message ends the connection")
    func interleaved() {
        var ends = Ends()
        var peer = ForeignEnd()
        let half = peer.record([24, 0, 0], type: 22)
        #expect(ends.receive(half) == [.needsInput(left: 0)])
        let record = peer.record([1], type: 23)
        #expect(ends.receive(record) == [.broken(10)])
    }

    @Test("a ticket beyond all measure is malformed")
    func hugeTicket() {
        var reader = PostHandshake(isClient: true)
        #expect([UInt8]([4, 0xff, 0xff, 0xff]).withUnsafeBytes { reader.take($0) } == .malformed)
    }
}
