import Testing

@testable import CNI

@Suite("JSON that stays as it is")
struct JSONTextTests {
    @Test(
        "every value knows where it stands",
        arguments: [
            (
                "{\"a\": [1, -2.5e+3, true, null, \"x\\u00e9\\ud83d\\ude00\\n\"]}", "a",
                "[1, -2.5e+3, true, null, \"x\\u00e9\\ud83d\\ude00\\n\"]"
            ),
            (" {\"a\":{} , \"b\" : [ ] }\n", "b", "[ ]"), ("{\"a\":1,\"a\":2}", "a", "2"),
        ])
    func ranges(_ text: String, _ name: String, _ value: String) throws {
        let json = try JSONText(Array(text.utf8))
        #expect(json.text(of: try #require(json.root[name])) == value)
    }

    @Test("escapes are read, and written back")
    func escapes() throws {
        let json = try JSONText(Array("\"x\\u00e9\\ud83d\\ude00\\n\\\"\\/\"".utf8))
        #expect(json.root.string == "xé😀\n\"/")
        for text in ["", "a\"b\\c\nd\te\u{1}", "😀"] {
            #expect(try JSONText(Array(JSONText.quoted(text).utf8)).root.string == text)
        }
    }

    @Test(
        "what is no JSON is refused",
        arguments: [
            "", " ", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "1.", "1e", "-", "tru", "\"\n\"", "\"\\x\"",
            "\"\\ud83d\"",
            "\"\\u12\"", "{} {}", "nul", "[1 2]", "{a:1}",
        ])
    func refused(_ text: String) {
        #expect(throws: JSONText.Problem.self) { _ = try JSONText(Array(text.utf8)) }
    }

    @Test("cut anywhere it is refused; nested too deep as well; bytes that are no UTF-8 too")
    func bounds() {
        let text = Array("{\"a\": [1, {\"b\": \"\\u00e9\"}], \"c\": false}".utf8)
        for count in 0..<text.count {
            #expect(throws: JSONText.Problem.self) { _ = try JSONText(Array(text[..<count])) }
        }
        let deep = Array(String(repeating: "[", count: 100_000).utf8)
        #expect(throws: JSONText.Problem.self) { _ = try JSONText(deep) }
        #expect(throws: JSONText.Problem.self) { _ = try JSONText([0x22, 0xff, 0x22]) }
    }
}
