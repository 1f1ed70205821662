import NIOCore
import SeededRandom
import Testing

@testable import KubernetesAPI

@Suite("A watch's documents, one per line")
struct WatchLinesTests {
    private static let text = #"{"type":"ADDED"}"# + "\n\n" + #"{"type":"é"}"# + "\n" + "x\n"
    private static let lines = [#"{"type":"ADDED"}"#, #"{"type":"é"}"#, "x"]

    @Test("come out the same wherever the bytes are split in two")
    func splitInTwo() throws {
        let bytes = Array(Self.text.utf8)
        for offset in 0...bytes.count {
            #expect(try Self.lines(of: [Array(bytes[..<offset]), Array(bytes[offset...])]) == Self.lines)
        }
    }

    @Test("come out the same wherever the bytes are split, byte by byte and at random")
    func splitAtRandom() throws {
        let bytes = Array(Self.text.utf8)
        #expect(try Self.lines(of: bytes.map { [$0] }) == Self.lines)
        var random = SeededGenerator(seed: 7)
        for _ in 0..<500 {
            var rest = bytes[...]
            var pieces: [[UInt8]] = []
            while !rest.isEmpty {
                pieces.append(Array(rest.prefix(Int.random(in: 1...9, using: &random))))
                rest = rest.dropFirst(pieces[pieces.count - 1].count)
            }
            #expect(try Self.lines(of: pieces) == Self.lines)
        }
    }

    @Test("are bounded, ended or not")
    func bounded() throws {
        #expect(try Self.lines(of: [Array("12345678\n".utf8)], max: 8) == ["12345678"])
        for text in ["123456789\n", "123456789"] {
            #expect(throws: KubernetesError.self) { try Self.lines(of: [Array(text.utf8)], max: 8) }
            #expect(throws: KubernetesError.self) { try Self.lines(of: text.utf8.map { [$0] }, max: 8) }
        }
    }

    @Test("an unended line is known as one")
    func midLine() throws {
        var lines = WatchLines(lineBytesMax: 100)
        #expect(!lines.isMidLine)
        lines.append(ByteBuffer(string: "a\nb"))
        #expect(try lines.next() == ByteBuffer(string: "a"))
        #expect(try lines.next() == nil)
        #expect(lines.isMidLine)
        lines.append(ByteBuffer(string: "c\n"))
        #expect(try lines.next() == ByteBuffer(string: "bc"))
        #expect(!lines.isMidLine)
    }

    private static func lines(of pieces: [[UInt8]], max: Int = 100) throws -> [String] {
        var lines = WatchLines(lineBytesMax: max)
        var found: [String] = []
        for piece in pieces {
            lines.append(ByteBuffer(bytes: piece))
            while let line = try lines.next() { found.append(String(buffer: line)) }
        }
        return found
    }
}

@Suite("Watch events")
struct WatchEventTests {
    private func event(_ text: String) throws -> WatchEvent<Namespace>? {
        try JSONReader.read(text) { try WatchEvent<Namespace>.read(&$0) }
    }

    private static let object =
        #"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"shop","resourceVersion":"5"}}"#
    private static let namespace = Namespace(
        metadata: ObjectMeta(name: "shop", resourceVersion: "5"), phase: "")

    @Test("of each type, with their members in any order")
    func types() throws {
        let expected: [(String, WatchEvent<Namespace>)] = [
            ("ADDED", .added(Self.namespace)), ("MODIFIED", .modified(Self.namespace)),
            ("DELETED", .deleted(Self.namespace)), ("BOOKMARK", .bookmark(resourceVersion: "5")),
        ]
        for (type, expected) in expected {
            #expect(try event(#"{"type":"\#(type)","object":\#(Self.object)}"#) == expected)
            #expect(try event(#"{"object":\#(Self.object),"x":{"y":[]},"type":"\#(type)"}"#) == expected)
        }
        let expired = try event(
            #"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}"#
        )
        #expect(expired == .error(.init(code: 410, reason: .expired, message: "")))
    }

    @Test("of a type that is not known yet are stepped over")
    func unknownType() throws {
        #expect(try event(#"{"type":"RENAMED","object":{"kind":"Other"}}"#) == nil)
    }

    @Test(
        "of another kind, without a name or without an object are refused",
        arguments: [
            #"{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}}"#,
            #"{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v2","metadata":{"name":"a"}}}"#,
            #"{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":""}}}"#,
            #"{"type":"ADDED","object":null}"#, #"{"type":"ADDED"}"#,
            #"{"object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a"}}}"#, "null", "[]",
        ])
    func refused(text: String) {
        #expect(throws: JSONError.self) { try event(text) }
    }
}
