internal import FoundationEssentials

/// Base 64 of RFC 4648: with padding for values in objects, the URL's alphabet without padding for tokens.
enum Base64 {
    static func text(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

    static func bytes(_ text: String) -> [UInt8]? { Data(base64Encoded: text).map(Array.init) }

    static func url(_ bytes: [UInt8]) -> String {
        var out = ""
        for character in text(bytes) where character != "=" {
            out.append(character == "+" ? "-" : character == "/" ? "_" : character)
        }
        return out
    }

    static func bytes(url text: some StringProtocol) -> [UInt8]? {
        var plain = ""
        for character in text { plain.append(character == "-" ? "+" : character == "_" ? "/" : character) }
        while plain.utf8.count % 4 != 0 { plain.append("=") }
        return bytes(plain)
    }
}
