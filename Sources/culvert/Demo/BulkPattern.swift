import Crypto

/// Bytes that look random, without end, the same for both ends: a mebibyte repeated, each time under another number.
struct BulkPattern {
    static let blockBytes = 1 << 20
    private var block: [UInt64]
    private var number: UInt64 = 0

    init(seed: UInt64) {
        var state = seed
        block = (0..<BulkPattern.blockBytes / 8).map { _ in
            // SplitMix64.
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
            return mixed ^ mixed >> 31
        }
    }

    mutating func withNextBlock<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        block[0] = number
        number += 1
        return try block.withUnsafeBytes(body)
    }
}

extension SHA256.Digest {
    var hexadecimal: String {
        map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
