import Glibc

/// Writing to the terminal, and what is safe to write there.
enum CertificateOutput {
    /// Everything, or until the reader is gone: `culvert cert inspect … | head` is not an error.
    static func write(_ text: String, to descriptor: Int32) {
        var left = Array(text.utf8)[...]
        while !left.isEmpty {
            let count = left.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            left = left.dropFirst(count)
        }
    }

    /// A certificate's names may hold terminal control sequences: those characters are shown as `\u{…}`.
    static func printable(_ text: String) -> String {
        var safe = ""
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
                safe += "\\u{\(String(scalar.value, radix: 16))}"
            default: safe.unicodeScalars.append(scalar)
            }
        }
        return safe
    }

    /// Lower-case, two digits per byte.
    static func hexadecimal(_ bytes: some Sequence<UInt8>, separator: String = "") -> String {
        bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 2 ? digits : "0" + digits
        }.joined(separator: separator)
    }

    /// A non-negative big-endian number, as a person writes it.
    static func decimal(_ bytes: some Sequence<UInt8>) -> String {
        var digits: [UInt8] = [0]
        for byte in bytes {
            var carry = Int(byte)
            for index in digits.indices {
                let value = Int(digits[index]) * 256 + carry
                digits[index] = UInt8(value % 10)
                carry = value / 10
            }
            while carry > 0 {
                digits.append(UInt8(carry % 10))
                carry /= 10
            }
        }
        return String(decoding: digits.reversed().map { $0 + UInt8(ascii: "0") }, as: UTF8.self)
    }

    /// The two largest units: `59m 12s`, `364d 3h`.
    static func duration(_ seconds: Int) -> String {
        let units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
        guard let first = units.firstIndex(where: { seconds >= $0.1 }) else { return "0s" }
        var left = seconds
        var parts: [String] = []
        for (name, size) in units[first...].prefix(2) {
            if left / size > 0 { parts.append("\(left / size)\(name)") }
            left %= size
        }
        return parts.joined(separator: " ")
    }
}
