/// An alias to an anchor (YAML 1.2 chapter 7.1), looked for before the text reaches the parser.
struct YAMLAlias: Equatable {
    let name: String
    let line: Int
    let column: Int

    /// The first `*name` for which there is an `&name` anywhere, in comments and strings also: the parser expands aliases
    /// while it reads, so that the answer has to be sure before, at the price of refusing an odd comment.
    static func first(in text: String) -> YAMLAlias? {
        var text = text
        return text.withUTF8 { bytes in
            var anchors: Set<[UInt8]> = []
            for index in bytes.indices where bytes[index] == UInt8(ascii: "&") {
                anchors.insert(name(in: bytes, after: index))
            }
            anchors.remove([])
            guard !anchors.isEmpty else { return nil }
            var line = 1
            var lineStart = 0
            for index in bytes.indices {
                if bytes[index] == UInt8(ascii: "\n") {
                    line += 1
                    lineStart = index + 1
                }
                guard bytes[index] == UInt8(ascii: "*") else { continue }
                let alias = name(in: bytes, after: index)
                if anchors.contains(alias) {
                    let column = String(decoding: bytes[lineStart..<index], as: UTF8.self).unicodeScalars.count + 1
                    return YAMLAlias(name: String(decoding: alias, as: UTF8.self), line: line, column: column)
                }
            }
            return nil
        }
    }

    private static func name(in bytes: UnsafeBufferPointer<UInt8>, after index: Int) -> [UInt8] {
        Array(bytes[(index + 1)...].prefix { isNameByte($0) })
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default:
            false
        }
    }
}
