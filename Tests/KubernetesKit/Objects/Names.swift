/// What names, labels and annotations may look like (k8s.io/apimachinery/pkg/util/validation).
enum Names {
    /// RFC 1123 label.
    static func isLabel(_ text: String) -> Bool {
        guard (1...63).contains(text.utf8.count) else { return false }
        return isAlphanumeric(text.utf8.first) && isAlphanumeric(text.utf8.last)
            && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
    }

    /// RFC 1123 subdomain: dots, and 253 bytes in all. Its parts have no bound of their own in Kubernetes.
    static func isSubdomain(_ text: String) -> Bool {
        guard (1...253).contains(text.utf8.count) else { return false }
        return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
            isAlphanumeric(part.first) && isAlphanumeric(part.last)
                && part.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
        }
    }

    /// What fits into a path as one part: RBAC's names.
    static func isPathSegment(_ text: String) -> Bool {
        !text.isEmpty && text != "." && text != ".." && !text.contains("/") && !text.contains("%")
    }

    /// `prefix/name`, the prefix optional: keys of labels and annotations, conditions' types.
    static func isQualifiedName(_ text: String) -> Bool {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let name = parts.last else { return false }
        if parts.count == 2, !isSubdomain(String(parts[0])) { return false }
        return isLabelValue(String(name)) && !name.isEmpty
    }

    /// At most 63 bytes; letters, digits, `-_.`, alphanumeric at both ends; or nothing.
    static func isLabelValue(_ text: String) -> Bool {
        guard text.utf8.count <= 63 else { return false }
        guard let first = text.utf8.first, let last = text.utf8.last else { return true }
        return isAlphanumericOfEitherCase(first) && isAlphanumericOfEitherCase(last)
            && text.utf8.allSatisfy {
                isAlphanumericOfEitherCase($0)
                    || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains($0)
            }
    }

    /// Keys of ConfigMaps and Secrets.
    static func isConfigurationKey(_ text: String) -> Bool {
        (1...253).contains(text.utf8.count) && text != "." && text != ".." && !text.hasPrefix("..")
            && text.utf8.allSatisfy {
                isAlphanumericOfEitherCase($0)
                    || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains($0)
            }
    }

    static let labelRule =
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
        + "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        + "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    static let subdomainRule =
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
        + "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        + "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    static let qualifiedNameRule =
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        + "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        + "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    static let labelValueRule =
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
        + "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
        + "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

    private static func isAlphanumeric(_ byte: UInt8?) -> Bool {
        guard let byte else { return false }
        return switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }

    private static func isAlphanumericOfEitherCase(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }
}
