extension JSONReader {
    /// A number's text, which is checked to be one (RFC 8259, section 6).
    mutating func number() throws -> Substring {
        let start = position
        if peek == UInt8(ascii: "-") { position += 1 }
        let whole = digits()
        guard whole == 1 || (whole > 1 && bytes[position - whole] != UInt8(ascii: "0")) else { throw fault(.malformed) }
        if peek == UInt8(ascii: ".") {
            position += 1
            guard digits() > 0 else { throw fault(.malformed) }
        }
        if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
            position += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
            guard digits() > 0 else { throw fault(.malformed) }
        }
        expectsComma = true
        return Substring(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        return position - start
    }

    /// A string's content. Bytes that are not UTF-8 are refused: a replaced character would make two names equal that are not.
    mutating func text() throws -> String {
        let start = try openText()
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                guard let value = String(validating: bytes[start..<position], as: UTF8.self) else {
                    throw fault(.notUTF8)
                }
                position += 1
                return value
            case UInt8(ascii: "\\"): return try escapedText(from: start)
            case 0..<0x20: throw fault(.malformed)
            default: position += 1
            }
        }
        throw fault(.truncated)
    }

    /// Steps over a string; what its escapes stand for is not looked at.
    mutating func skipText() throws {
        _ = try openText()
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                return
            case UInt8(ascii: "\\"): position += 2
            case 0..<0x20: throw fault(.malformed)
            default: position += 1
            }
        }
        throw fault(.truncated)
    }

    private mutating func openText() throws -> Int {
        guard peek == UInt8(ascii: "\"") else { throw fault(.notAString) }
        position += 1
        return position
    }

    /// The rest of a string that has at least one escape, which is at `position`.
    private mutating func escapedText(from start: Int) throws -> String {
        var content = [UInt8](bytes[start..<position])
        while let byte = peek {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let value = String(validating: content, as: UTF8.self) else { throw fault(.notUTF8) }
                return value
            case UInt8(ascii: "\\"): try appendEscape(to: &content)
            case 0..<0x20: throw fault(.malformed)
            default: content.append(byte)
            }
        }
        throw fault(.truncated)
    }

    private mutating func appendEscape(to content: inout [UInt8]) throws {
        guard let byte = peek else { throw fault(.truncated) }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0C)
        case UInt8(ascii: "n"): content.append(0x0A)
        case UInt8(ascii: "r"): content.append(0x0D)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "u"):
            let unit = try hexadecimalUnit()
            var scalar = UInt32(unit)
            if UTF16.isLeadSurrogate(unit) {
                guard peek == UInt8(ascii: "\\") else { throw fault(.malformed) }
                position += 1
                guard peek == UInt8(ascii: "u") else { throw fault(.malformed) }
                position += 1
                let trail = try hexadecimalUnit()
                guard UTF16.isTrailSurrogate(trail) else { throw fault(.malformed) }
                scalar = 0x10000 + (UInt32(unit - 0xD800) << 10) + UInt32(trail - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(scalar) else { throw fault(.malformed) }
            content.append(contentsOf: Character(scalar).utf8)
        default: throw fault(.malformed)
        }
    }

    private mutating func hexadecimalUnit() throws -> UInt16 {
        guard bytes.count - position >= 4 else { throw JSONError(reason: .truncated, offset: bytes.count) }
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue, bytes[position] < 0x80 else {
                throw fault(.malformed)
            }
            unit = unit << 4 | UInt16(digit)
            position += 1
        }
        return unit
    }
}
