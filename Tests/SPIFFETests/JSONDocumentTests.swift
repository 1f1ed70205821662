import SeededRandom
import Testing

@testable import SPIFFE

@Suite("The strict JSON reader")
struct JSONDocumentTests {
    @Test("reads what RFC 8259 allows")
    func reads() throws {
        let text =
            #" { "a" : [ 1 , -0.5e+3 , true , false , null ] , "b\n\u00e9\ud83e\udd2f/\/" : "" , "c" : {} , "d" : [] } "#
        let expected = JSONDocument.object([
            "a": .array([.number("1"), .number("-0.5e+3"), .boolean(true), .boolean(false), .null]),
            "b\né🤯//": .string(""), "c": .object([:]), "d": .array([]),
        ])
        #expect(try JSONDocument.read(text.utf8) == expected)
    }

    @Test(
        "refuses what is not JSON",
        arguments: [
            "", " ", "{", "[", "\"", "{}x", "[1,]", "{\"a\":1,}", "{a:1}", "{'a':1}", "01", "-", "1.", ".5", "1e", "+1",
            "tru", "nul", "NaN", "[1 2]", "{\"a\" 1}", "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
            "\"\\udc00\"", "\"a\nb\"", "// c\n1", "\u{feff}1", "[1]]",
        ])
    func refuses(text: String) {
        #expect(throws: JSONError.self) { try JSONDocument.read(text.utf8) }
    }

    @Test("refuses a repeated member at any depth, also when it is written differently")
    func repeated() {
        for text in [#"{"a":1,"a":1}"#, #"{"x":[{"a":1,"\u0061":2}]}"#, "{\"é\":1,\"e\u{301}\":2}"] {
            let error = #expect(throws: JSONError.self) { try JSONDocument.read(text.utf8) }
            #expect(error?.description.contains("twice") == true)
        }
    }

    @Test("refuses bytes that are not UTF-8, more than 16 levels, more than 1 MiB")
    func bounds() {
        #expect(throws: JSONError.self) { try JSONDocument.read([0x22, 0xff, 0x22]) }
        #expect(throws: JSONError.self) { try JSONDocument.read([0x22, 0xc0, 0x80, 0x22]) }
        let deep = { (levels: Int) in String(repeating: "[", count: levels) + String(repeating: "]", count: levels) }
        #expect((try? JSONDocument.read(deep(16).utf8)) != nil)
        #expect(throws: JSONError.self) { try JSONDocument.read(deep(17).utf8) }
        #expect(throws: JSONError.self) { try JSONDocument.read(deep(100_000).utf8) }
        let large = String(repeating: " ", count: JSONDocument.maximumBytes) + "1"
        #expect(throws: JSONError.self) { try JSONDocument.read(large.utf8) }
    }

    @Test("a text cut at any offset is refused")
    func cutAnywhere() {
        let text = Array(#"{"a":[1,"b\u00e9",true],"c":{"d":null}}"#.utf8)
        for end in 0..<text.count {
            #expect(throws: JSONError.self) { try JSONDocument.read(text[..<end]) }
        }
    }

    @Test("changed and random bytes never crash it")
    func fuzz() {
        var generator = SeededGenerator(seed: 0x7150)
        let text = Array(#"{"a":[1,-2.5e3,"b\u00e9\ud83e\udd2f",true],"c":{"d":null}}"#.utf8)
        for _ in 0..<20_000 {
            _ = try? JSONDocument.read(generator.mutation(of: text))
            _ = try? JSONDocument.read(generator.bytes(upTo: 40))
        }
    }
}
