import SeededRandom

extension SeededGenerator {
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
