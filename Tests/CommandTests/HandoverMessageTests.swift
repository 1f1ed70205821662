import IPAddressing
import SeededRandom
import Testing

@testable import culvert

@Suite("What proxies say when one takes over from the other")
struct HandoverMessageTests {
    @Test(
        "is read as it was written",
        arguments: [
            (HandoverMessage.hello(version: 1), "hello 1"),
            (.listeners(podUID: "0b1c 2d/x"), "listeners 0b1c 2d/x"),
            (.listener(SocketAddress("127.0.0.1:15001")!), "listener 127.0.0.1:15001"),
            (.listener(SocketAddress("[::]:15008")!), "listener [::]:15008"),
            (.end, "end"),
            (.ready, "ready"),
        ])
    func roundTrip(message: HandoverMessage, text: String) {
        #expect(message.bytes == Array(text.utf8))
        #expect(HandoverMessage(message.bytes) == message)
    }

    @Test(
        "is refused when it is anything else",
        arguments: [
            "", " ", "hello", "hello ", "hello +1", "hello 01", "hello 1 ", "hello 99999999999999999999", "HELLO 1",
            "listeners", "listeners ", "listener", "listener 15001", "listener 127.0.0.1:0",
            "listener 127.0.0.1:15001 x",
            "listener [::0]:15008", "end ", "end x", "ready ", "ready\n", " ready", "readyready",
        ])
    func refused(text: String) {
        #expect(HandoverMessage(Array(text.utf8)) == nil)
    }

    @Test("is refused with a UID that is too long, or bytes that are no text")
    func bounds() {
        #expect(HandoverMessage(Array("listeners ".utf8) + [UInt8](repeating: 0x61, count: 1024)) != nil)
        #expect(HandoverMessage(Array("listeners ".utf8) + [UInt8](repeating: 0x61, count: 1025)) == nil)
        #expect(HandoverMessage(Array("listeners ".utf8) + [0xff]) == nil)
    }

    @Test("ends in no crash, whatever comes")
    func fuzz() {
        var random = SeededGenerator(seed: 11)
        let words = ["hello ", "listeners ", "listener ", "end", "ready", "[::]:15008", "1"].map { Array($0.utf8) }
        for _ in 0..<20_000 {
            var bytes = words.randomElement(using: &random)! + words.randomElement(using: &random)!
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if let message = HandoverMessage(bytes) { #expect(message.bytes == bytes) }
        }
    }
}
