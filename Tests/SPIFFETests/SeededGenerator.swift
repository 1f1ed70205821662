/// SplitMix64: the same sequence for the same seed on every machine, so that a failing case can be run again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func bytes(upTo limit: Int) -> [UInt8] {
        (0..<Int.random(in: 0...limit, using: &self)).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }

    /// The text with a few bytes changed, removed or doubled: closer to the decoder's branches than pure noise.
    mutating func mutation(of text: [UInt8]) -> [UInt8] {
        var text = text
        for _ in 0..<Int.random(in: 1...4, using: &self) where !text.isEmpty {
            let index = Int.random(in: 0..<text.count, using: &self)
            switch Int.random(in: 0..<4, using: &self) {
            case 0: text[index] = UInt8.random(in: .min ... .max, using: &self)
            case 1: text.remove(at: index)
            case 2: text.insert(text[index], at: index)
            default: text.removeSubrange(index...)
            }
        }
        return text
    }
}
