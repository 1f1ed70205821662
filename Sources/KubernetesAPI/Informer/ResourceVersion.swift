enum ResourceVersion {
    /// Whether `left` came before `right`, or is it. Versions of one kind are decimal numbers of any length; what is none cannot be
    /// compared, and is taken for later.
    static func isNotAfter(_ left: String, _ right: String) -> Bool {
        guard isNumber(left), isNumber(right) else { return false }
        guard left.utf8.count == right.utf8.count else { return left.utf8.count < right.utf8.count }
        return !right.utf8.lexicographicallyPrecedes(left.utf8)
    }

    private static func isNumber(_ version: String) -> Bool {
        let digits = version.utf8
        guard let first = digits.first, first != UInt8(ascii: "0") || digits.count == 1 else { return false }
        return digits.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }
}
