/// Reads DER one element after the other, and nothing but DER: definite lengths in their shortest form (X.690 section 10.1).
///
/// For what is read so often that a tree of nodes would be the larger part of the work; it looks no deeper than it is asked to.
struct DERReader {
    struct Element {
        let tag: UInt8
        /// With tag and length.
        let whole: Range<Int>
        let content: Range<Int>
    }

    let bytes: [UInt8]
    private var position: Int
    private let end: Int

    init(_ bytes: [UInt8]) { self.init(bytes, 0..<bytes.count) }

    init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    /// For elements in which something else than elements remains, look at `next` first.
    var isAtEnd: Bool { position == end }

    /// nil at the end, and where the bytes are not DER; tags beyond 30 are not read.
    mutating func next() -> Element? {
        guard end - position >= 2 else { return nil }
        let tag = bytes[position]
        guard tag & 0x1f != 0x1f else { return nil }
        var length = Int(bytes[position + 1])
        var start = position + 2
        if length >= 0x80 {
            let count = length & 0x7f
            guard (1...3).contains(count), end - start >= count else { return nil }
            length = 0
            for byte in bytes[start..<start + count] { length = length << 8 | Int(byte) }
            guard length >= 0x80, length >> (8 * (count - 1)) != 0 else { return nil }
            start += count
        }
        guard length <= end - start else { return nil }
        defer { position = start + length }
        return Element(tag: tag, whole: position..<start + length, content: start..<start + length)
    }

    /// The next element, if it has this tag.
    mutating func next(_ tag: UInt8) -> Element? {
        guard let element = next(), element.tag == tag else { return nil }
        return element
    }

    /// The elements in the next one, if that has this tag.
    mutating func enter(_ tag: UInt8) -> DERReader? {
        next(tag).map { DERReader(bytes, $0.content) }
    }

    func isEqual(_ range: Range<Int>, _ other: [UInt8]) -> Bool { bytes[range].elementsEqual(other) }
}

extension [UInt8] {
    /// One element of DER around `contents`.
    init(der tag: UInt8, _ contents: [UInt8]...) {
        let count = contents.reduce(0) { $0 + $1.count }
        self = [tag]
        reserveCapacity(count + 5)
        switch count {
        case ..<0x80: append(UInt8(count))
        case ..<0x100: append(contentsOf: [0x81, UInt8(count)])
        case ..<0x1_0000: append(contentsOf: [0x82, UInt8(count >> 8), UInt8(count & 0xff)])
        default: append(contentsOf: [0x83, UInt8(count >> 16), UInt8(count >> 8 & 0xff), UInt8(count & 0xff)])
        }
        for content in contents { append(contentsOf: content) }
    }
}
