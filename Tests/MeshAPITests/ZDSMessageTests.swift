import SeededRandom
import Testing

@testable import MeshAPI

@Suite("ZDS messages")
struct ZDSMessageTests {
    /// Made with `protoc --encode`.
    static let requests: [(ZDSRequest, [UInt8])] = [
        (.add(uid: "u1", webInfo), bytes("0a180a02753112120a057765622d31120473686f701a03776562")),
        (.delete(uid: "u1"), bytes("120412027531")),
        (.keep(uid: "u1"), bytes("2a040a027531")),
        (.snapshotSent, bytes("1a00")),
    ]

    @Test("requests have the bytes that protoc gives them, and come back from them", arguments: requests)
    func golden(request: ZDSRequest, packet: [UInt8]) throws {
        #expect(try ZDSMessage.encode(request) == packet)
        #expect(try ZDSMessage.decodeRequest(packet) == request)
    }

    @Test("the hello has the bytes that protoc gives it")
    func hello() throws {
        #expect(try ZDSMessage.hello() == bytes("0801"))
        try ZDSMessage.checkHello(bytes("0801"))
    }

    @Test("a hello of another version is refused", arguments: ["", "0800", "0802"])
    func otherHello(packet: String) {
        #expect(throws: ZDSError.self) { try ZDSMessage.checkHello(bytes(packet)) }
    }

    @Test("acknowledgements have the bytes that protoc gives them")
    func acknowledgements() throws {
        #expect(try ZDSMessage.acknowledgement(error: nil) == bytes("0a00"))
        #expect(try ZDSMessage.acknowledgement(error: "no") == bytes("0a040a026e6f"))
        #expect(try ZDSMessage.decodeAcknowledgement(bytes("0a00")) == nil)
        #expect(try ZDSMessage.decodeAcknowledgement(bytes("0a040a026e6f")) == "no")
    }

    @Test("an error without a text is still an error")
    func emptyError() throws {
        #expect(try ZDSMessage.decodeAcknowledgement(ZDSMessage.acknowledgement(error: "")) == "failed")
    }

    @Test("a long error is cut between two characters and fits a packet")
    func longError() throws {
        let packet = try ZDSMessage.acknowledgement(error: String(repeating: "ä", count: 2000))
        #expect(packet.count <= ZDSMessage.bytesMax)
        #expect(try ZDSMessage.decodeAcknowledgement(packet)?.allSatisfy { $0 == "ä" } == true)
    }

    @Test("what does not fit the peer's buffer is not sent")
    func tooLong() {
        #expect(throws: ZDSError.tooLong(1033)) {
            try ZDSMessage.encode(.delete(uid: String(repeating: "u", count: 1027)))
        }
        #expect(throws: ZDSError.tooLong(1025)) {
            try ZDSMessage.decodeRequest([UInt8](repeating: 0, count: 1025))
        }
    }

    @Test(
        "incomplete requests are refused",
        arguments: [
            "",  // no payload
            "0a040a027531",  // Add without workload_info
            "0a160a0012120a057765622d31120473686f701a03776562",  // Add with an empty uid
            "0a100a0275311 20a0a057765622d311201 73".filter { $0 != " " },  // Add without a service account
            "12020a00",  // Del with its uid in field 1
            "2a020a00",  // Keep with an empty uid
            "0a0b0a0275c3120512030a0161",  // uid is not UTF-8
            "1a",
            "ff",
        ])
    func incomplete(packet: String) {
        #expect(throws: ZDSError.self) { try ZDSMessage.decodeRequest(bytes(packet)) }
    }

    @Test("names that are not visible ASCII are refused", arguments: ["a b", "ä", "a\n", "\u{7f}"])
    func names(uid: String) throws {
        let packet = try ZDSMessage.encode(.delete(uid: uid))
        #expect(throws: ZDSError.self) { try ZDSMessage.decodeRequest(packet) }
    }

    @Test("no beginning of a request is taken for that request", arguments: requests)
    func truncated(request: ZDSRequest, packet: [UInt8]) {
        for count in 0..<packet.count {
            #expect((try? ZDSMessage.decodeRequest(Array(packet.prefix(count)))) != request)
        }
    }

    @Test("random packets are refused or understood, never more")
    func random() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            let packet = generator.bytes(upTo: 64)
            _ = try? ZDSMessage.decodeRequest(packet)
            _ = try? ZDSMessage.decodeAcknowledgement(packet)
            _ = try? ZDSMessage.checkHello(packet)
        }
    }

    @Test("requests with any one byte changed are refused or understood", arguments: requests)
    func changed(request: ZDSRequest, packet: [UInt8]) {
        for index in packet.indices {
            for value in UInt8.min...UInt8.max {
                var other = packet
                other[index] = value
                _ = try? ZDSMessage.decodeRequest(other)
            }
        }
    }
}
