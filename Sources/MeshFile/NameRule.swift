/// Which strings a field takes.
enum NameRule {
    /// RFC 1123 label, as Kubernetes has it for namespaces and services.
    case label
    /// RFC 1123 subdomain, as Kubernetes has it for pods, service accounts and nodes.
    case subdomain
    case uid
    case labelKey
    case labelValue
    case path

    var description: String {
        switch self {
        case .label: "1 to 63 lower-case letters, digits and '-', a letter or digit at both ends"
        case .subdomain:
            "at most 253 lower-case letters, digits, '-' and '.', a letter or digit at both ends of each part"
        case .uid: "1 to 128 letters, digits, '.', '_' and '-', a letter or digit first"
        case .labelKey: "the form [prefix/]name"
        case .labelValue: "at most 63 letters, digits, '.', '_' and '-', a letter or digit at both ends"
        case .path: "an absolute path of at most 4095 bytes, without control characters"
        }
    }

    func matches(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        switch self {
        case .label: return NameRule.isLabel(bytes[...])
        case .subdomain: return NameRule.isSubdomain(bytes)
        case .uid:
            // It becomes part of file names: neither "..", nor hidden, nor like an option.
            return (1...128).contains(bytes.count) && bytes.allSatisfy(NameRule.isWordByte)
                && NameRule.isAlphanumeric(bytes[0])
        case .labelKey:
            let parts = bytes.split(separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.last, !name.isEmpty, NameRule.isLabelValue(name) else { return false }
            return parts.count == 1 || NameRule.isSubdomain(Array(parts[0]))
        case .labelValue: return NameRule.isLabelValue(bytes[...])
        case .path: return bytes.first == UInt8(ascii: "/") && bytes.count <= 4095 && bytes.allSatisfy { $0 >= 0x20 }
        }
    }

    private static func isSubdomain(_ bytes: [UInt8]) -> Bool {
        bytes.count <= 253
            && bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy(isLabel)
    }

    private static func isLabel(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard (1...63).contains(bytes.count), let first = bytes.first, let last = bytes.last else { return false }
        return isLowercaseOrDigit(first) && isLowercaseOrDigit(last)
            && bytes.allSatisfy { isLowercaseOrDigit($0) || $0 == UInt8(ascii: "-") }
    }

    private static func isLabelValue(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first, let last = bytes.last else { return true }
        return bytes.count <= 63 && isAlphanumeric(first) && isAlphanumeric(last) && bytes.allSatisfy(isWordByte)
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        isLowercaseOrDigit(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }

    private static func isLowercaseOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

extension MeshFile {
    /// Whether the API server takes it for a namespace's name.
    public static func isNamespaceName(_ text: String) -> Bool { NameRule.label.matches(text) }
}
