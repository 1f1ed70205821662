import SeededRandom
import SwiftASN1
import Testing
import X509

@testable import SPIFFE

@Suite("PEM")
struct PEMBlockTests {
    private func problem(_ text: String) -> PEMError? {
        do { _ = try PEMBlock.read(text.utf8) } catch { return error }
        return nil
    }

    @Test("reads blocks between other text, with CR LF, trailing spaces, and lines of any length")
    func reads() throws {
        let text =
            "Subject: CN=a\r\n-----BEGIN CERTIFICATE-----  \r\nAQID\r\nBA==\r\n-----END CERTIFICATE-----\r\n"
            + "# comment\n-----BEGIN X-----\n\(String(repeating: "AAAA", count: 100))\n-----END X-----"
        let blocks = try PEMBlock.read(text.utf8)
        #expect(blocks.map(\.label) == ["CERTIFICATE", "X"])
        #expect(blocks.map(\.line) == [2, 7])
        #expect(blocks[0].der == [1, 2, 3, 4])
        #expect(blocks[1].der.count == 300)
    }

    @Test("no block is no error")
    func none() throws {
        #expect(try PEMBlock.read("".utf8).isEmpty)
        #expect(try PEMBlock.read("hello\n".utf8).isEmpty)
    }

    @Test("never decodes a private key", arguments: ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
    func privateKey(label: String) throws {
        let text = "-----BEGIN \(label)-----\nProc-Type: 4,ENCRYPTED\n\nAQID\n-----END \(label)-----\n"
        let block = try #require(try PEMBlock.read(text.utf8).first)
        #expect(block.isPrivateKey)
        #expect(block.der.isEmpty)
    }

    @Test("says what is wrong, and on which line")
    func errors() {
        #expect(problem("-----BEGIN A-----\nAQID\n") == PEMError(line: 1, problem: .unfinished("A")))
        #expect(problem("x\n-----BEGIN A-----\n-----BEGIN B-----\n") == PEMError(line: 2, problem: .unfinished("A")))
        #expect(problem("x\n-----END A-----") == PEMError(line: 2, problem: .endWithoutBegin("A")))
        let mismatch = problem("-----BEGIN A-----\nAQID\n-----END B-----")
        #expect(mismatch == PEMError(line: 3, problem: .labelMismatch(begin: "A", end: "B")))
        #expect(problem("-----BEGIN A-----\nA!ID\n-----END A-----") == PEMError(line: 1, problem: .notBase64("A")))
        #expect(problem("-----BEGIN A-----\n-----END A-----") == PEMError(line: 1, problem: .notBase64("A")))
        let large = String(repeating: "x", count: PEMBlock.maximumBytes + 1)
        #expect(problem(large) == PEMError(line: 1, problem: .tooLarge(large.utf8.count)))
    }

    @Test("a text cut at any offset is read or refused, and never gains a block")
    func cutAnywhere() throws {
        let root = try TestAuthority.root().certificate
        let text = Array((root.pem() + root.pem()).utf8)
        for end in 0..<text.count {
            let blocks = (try? PEMBlock.read(text[..<end])) ?? []
            #expect(blocks.allSatisfy { $0.der == root.der() })
        }
    }

    @Test("changed and random bytes never crash it")
    func fuzz() throws {
        var generator = SeededGenerator(seed: 0x9e3)
        let text = Array(try TestAuthority.root().certificate.pem().utf8)
        for _ in 0..<3000 {
            let blocks = (try? PEMBlock.read(generator.mutation(of: text))) ?? []
            for block in blocks { _ = try? Certificate(derEncoded: block.der) }
            _ = try? PEMBlock.read(Array("-----BEGIN A-----\n".utf8) + generator.bytes(upTo: 200))
        }
    }
}
