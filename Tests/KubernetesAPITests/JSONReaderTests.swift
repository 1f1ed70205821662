import KubernetesAPI
import SeededRandom
import Testing

@Suite("JSON, a value at a time")
struct JSONReaderTests {
    @Test(
        "writes what it has read",
        arguments: [
            "null", "true", "false", "0", "-1", "12.5e-3", "\"\"", "[]", "{}", #"{"a":[1,{"b":null}],"c":"é"}"#,
            #"["\"\\\n\r\t",{"":{}}]"#,
        ])
    func roundTrip(text: String) throws {
        #expect(try JSONReader.read(text) { try $0.value() }.text == text)
        try JSONReader.read(" \n" + text + "\t") { try $0.skip() }
    }

    @Test(
        "refuses what is no JSON, read or stepped over",
        arguments: [
            "", " ", "nul", "truee", "01", "-", "1.", "1e", "+1", ".5", "\"", "\"\\\"", "[", "[1", "[1,", "[1,]",
            "[,1]", "[1 2]",
            "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{,\"a\":1}", "{a:1}", "{\"a\" 1}", "{1:2}", "1 2",
            "[]]", "\"\u{1}\"",
            "{\"a\":1 \"b\":2}",
        ])
    func refuses(text: String) {
        #expect(throws: JSONError.self) { try JSONReader.read(text) { try $0.value() } }
        #expect(throws: JSONError.self) { try JSONReader.read(text) { try $0.skip() } }
    }

    @Test(
        "refuses strings whose escapes stand for nothing",
        arguments: [
            #""\x""#, #""\u12""#, #""\u12G4""#, #""\ud800""#, #""\udc00""#, #""\ud800\u0041""#, #""\ud800\n""#,
            #""\u00"#,
        ])
    func refusesEscapes(text: String) {
        #expect(throws: JSONError.self) { try JSONReader.read(text) { try $0.string() } }
    }

    @Test("refuses bytes that are not UTF-8")
    func refusesBytes() {
        for bytes: [UInt8] in [
            [0x22, 0xFF, 0x22], [0x22, 0xC0, 0xAF, 0x22], [0x22, 0x5C, 0x6E, 0xED, 0xA0, 0x80, 0x22],
        ] {
            #expect(throws: JSONError.self) {
                try bytes.withUnsafeBytes { try JSONReader.read($0) { try $0.string() } }
            }
        }
    }

    @Test("is bounded in depth, and a document at the bound passes")
    func depth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        try JSONReader.read(nested(JSONReader.depthMax)) { try $0.skip() }
        let error = #expect(throws: JSONError.self) {
            try JSONReader.read(nested(JSONReader.depthMax + 1)) { try $0.skip() }
        }
        #expect(error?.reason == .tooDeep)
    }

    @Test("null is an absent value everywhere")
    func nulls() throws {
        #expect(try JSONReader.read("null") { try $0.string() } == nil)
        #expect(try JSONReader.read("null") { try $0.bool() } == nil)
        #expect(try JSONReader.read("null") { try $0.integer() } == nil)
        #expect(try JSONReader.read("null") { try $0.strings() } == [:])
        #expect(try JSONReader.read(#"["a",null,"b"]"#) { try $0.stringList() } == ["a", "b"])
        #expect(try JSONReader.read(#"{"a":null,"b":"c"}"#) { try $0.strings() } == ["b": "c"])
    }

    @Test("a whole number is no fraction, and fits")
    func integers() throws {
        #expect(try JSONReader.read("-42") { try $0.integer() } == -42)
        for text in ["1.0", "1e2", "9223372036854775808", "\"1\"", "true"] {
            #expect(throws: JSONError.self) { try JSONReader.read(text) { try $0.integer() } }
        }
    }

    @Test("whatever bytes come, it reads or refuses, and what it reads it writes the same twice")
    func fuzz() throws {
        var random = SeededGenerator(seed: 20261121)
        let alphabet = Array(#"{}[]",:\u0123456789eE+-.truefalsn "#.utf8) + [0x00, 0x80, 0xC3, 0xA9, 0xFF]
        let whole = Array(
            #"{"kind":"Pod","metadata":{"name":"a\u00e9","labels":{"a":null}},"x":[1,-2.5e3,true,[]]}"#.utf8)
        for _ in 0..<20_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = alphabet.randomElement(using: &random) ?? 0
                case 1: bytes.remove(at: index)
                default: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: index)
                }
            }
            let value = try? bytes.withUnsafeBytes { try JSONReader.read($0) { try $0.value() } }
            let skipped = (try? bytes.withUnsafeBytes { try JSONReader.read($0) { try $0.skip() } }) != nil
            // Stepping over does not look into strings.
            if let value {
                #expect(skipped)
                #expect(try JSONReader.read(value.text) { try $0.value() } == value)
            }
            _ = try? bytes.withUnsafeBytes { try Pod(json: $0) }
        }
    }

    @Test("every beginning of a document is refused")
    func truncated() {
        let whole = Array(#"{"kind":"Pod","metadata":{"name":"a\u00e9","labels":{"a":null}},"x":[1,true,[]]}"#.utf8)
        for count in 0..<whole.count {
            let error = #expect(throws: JSONError.self) {
                try whole[..<count].withUnsafeBytes { try JSONReader.read($0) { try $0.value() } }
            }
            #expect(error?.offset ?? 0 <= count)
        }
    }
}
