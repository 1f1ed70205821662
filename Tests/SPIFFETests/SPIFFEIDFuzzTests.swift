import SPIFFE
import SeededRandom
import Testing

@Suite("SPIFFE IDs from random bytes")
struct SPIFFEIDFuzzTests {
    @Test("what is read is what was written, and nothing outside the alphabet is read")
    func fuzz() {
        var generator = SeededGenerator(seed: 0x1d)
        let seeds = ["spiffe://td.test/ns/shop/sa/web", "spiffe://td", "spiffe://a_b-c.d/.../-"].map { Array($0.utf8) }
        let alphabet = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/:".utf8)
        for round in 0..<60_000 {
            let bytes = generator.mutation(of: seeds[round % seeds.count])
            let text = String(decoding: bytes, as: UTF8.self)
            guard let id = try? SPIFFEID(text) else { continue }
            #expect(id.description.utf8.elementsEqual(bytes))
            #expect(bytes.allSatisfy(alphabet.contains))
            #expect((try? SPIFFEID(trustDomain: id.trustDomain, path: id.path)) == id)
            let segments = id.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            #expect(!segments.contains { ["", ".", ".."].contains($0) })
        }
    }

    @Test("an ID cut at any offset is read or refused, and is then a prefix")
    func cutAnywhere() {
        let text = "spiffe://td.test/ns/shop/sa/web"
        for end in 0...text.utf8.count {
            let cut = String(text.prefix(end))
            let isRead = (try? SPIFFEID(cut)) != nil
            #expect(isRead == (end > 9 && cut.last != "/"), "\(cut)")
        }
    }
}
