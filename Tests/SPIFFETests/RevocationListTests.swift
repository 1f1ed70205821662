import Crypto
import FoundationEssentials
import RevocationFixtures
import SeededRandom
import SwiftASN1
import Testing
import X509

@testable import SPIFFE

@Suite("A revocation list")
struct RevocationListTests {
    private static func list(
        of authority: TestAuthority, _ plan: RevocationPlan = RevocationPlan(now: testNow)
    ) throws -> RevocationList {
        try RevocationList(derEncoded: plan.der(issuer: authority.certificate.subject, key: authority.key))
    }

    @Test("says which certificates are revoked, since when and why")
    func entries() throws {
        let root = try TestAuthority.root()
        let (revoked, held, good) = (try root.leaf(), try root.leaf(), try root.leaf())
        var plan = RevocationPlan(now: testNow)
        let then = testNow.addingTimeInterval(-120)
        plan.entries = [.init(revoked, reason: 1, date: then), .init(held, date: then)]
        plan.number = [0x12, 0x34]
        let list = try Self.list(of: root, plan)
        #expect(list.count == 2)
        #expect(list.entry(for: revoked) == .init(date: then, reason: .keyCompromise))
        #expect(list.entry(for: revoked)?.description == "revoked on 2027-01-15T07:58:00Z (key compromise)")
        #expect(list.entry(for: held) == .init(date: then, reason: nil))
        #expect(list.entry(for: good) == nil)
        #expect(list.issuer == root.certificate.subject)
        #expect(list.number == [0x12, 0x34])
        #expect(list.thisUpdate == plan.thisUpdate && list.nextUpdate == plan.nextUpdate)
        #expect(!list.isOverdue(at: testNow) && list.isOverdue(at: testNow.addingTimeInterval(3601)))
    }

    @Test("reads dates of both encodings, on both sides of 2050 and on leap days")
    func dates() throws {
        let root = try TestAuthority.root()
        // 1999-12-31T23:59:59Z, 2000-02-29, 2024-02-29T12:34:56Z, 2049-12-31T23:59:59Z, 2050-01-01, 2100-03-01, 2399-12-31
        for seconds in [
            946_684_799, 951_782_400, 1_709_210_096, 2_524_607_999, 2_524_608_000, 4_107_542_400, 13_569_379_200,
        ] {
            var plan = RevocationPlan(now: testNow)
            plan.nextUpdate = Date(timeIntervalSince1970: Double(seconds))
            #expect(try Self.list(of: root, plan).nextUpdate == plan.nextUpdate)
        }
    }

    @Test("is its signer's only: name, key identifier, key usage and signature")
    func signer() throws {
        let root = try TestAuthority.root()
        var plan = RevocationPlan(now: testNow)
        #expect(try Self.list(of: root, plan).isSigned(by: root.certificate))
        plan.keyIdentifier = try root.certificate.extensions.subjectKeyIdentifier?.keyIdentifier
        #expect(try Self.list(of: root, plan).isSigned(by: root.certificate))
        #expect(try !Self.list(of: root, plan).isSigned(by: TestAuthority.root(name: "another").certificate))
        // The same name, another key.
        #expect(try !Self.list(of: root, plan).isSigned(by: TestAuthority.root().certificate))
        plan.keyIdentifier = [1, 2, 3]
        #expect(try !Self.list(of: root, plan).isSigned(by: root.certificate))
        let mute = try TestAuthority.root { $0.usage = KeyUsage(keyCertSign: true) }
        #expect(try !Self.list(of: mute).isSigned(by: mute.certificate))
        let plain = try TestAuthority.root { $0.usage = nil }
        #expect(try Self.list(of: plain).isSigned(by: plain.certificate))
    }

    struct Flaw: Sendable, CustomTestStringConvertible {
        let name: String
        let words: String
        let change: @Sendable (inout RevocationPlan) -> Void
        var testDescription: String { name }
    }

    static let flaws: [Flaw] = [
        Flaw(name: "version 3", words: "version") { $0.version = 2 },
        Flaw(name: "extensions in version 1", words: "follows its entries") { $0.version = nil },
        Flaw(name: "SHA-1", words: "not accepted") {
            $0.innerAlgorithm = [1, 2, 840, 10045, 4, 1]
            $0.outerAlgorithm = [1, 2, 840, 10045, 4, 1]
        },
        Flaw(name: "two signature algorithms", words: "two signature algorithms") {
            $0.innerAlgorithm = [1, 2, 840, 10045, 4, 3, 3]
        },
        Flaw(name: "a list of changes", words: "list of changes") {
            $0.extensions = [.init(oid: [2, 5, 29, 27], critical: true, value: [0x02, 0x01, 0x01])]
        },
        Flaw(name: "one distribution point's", words: "distribution point") {
            $0.extensions = [.init(oid: [2, 5, 29, 28], critical: true, value: [0x30, 0x00])]
        },
        Flaw(name: "an unknown critical extension", words: "1.2.3.4 is not understood") {
            $0.extensions = [.init(oid: [1, 2, 3, 4], critical: true, value: [0x05, 0x00])]
        },
        Flaw(name: "an extension twice", words: "twice") {
            $0.extensions = [
                .init(oid: [1, 2, 3, 4], critical: false, value: [0x05, 0x00]),
                .init(oid: [1, 2, 3, 4], critical: false, value: [0x05, 0x00]),
            ]
        },
        Flaw(name: "an entry of another CA", words: "indirect") {
            $0.entries[0].extensions = [.init(oid: [2, 5, 29, 29], critical: true, value: [0x30, 0x00])]
        },
        Flaw(name: "an entry that takes a revocation back", words: "list of changes") {
            $0.entries[0].extensions = [RevocationPlan.reason(8)]
        },
        Flaw(name: "an entry with an unknown critical extension", words: "not understood") {
            $0.entries[0].extensions = [.init(oid: [1, 2, 3, 4], critical: true, value: [0x05, 0x00])]
        },
        Flaw(name: "a reason that is no number", words: "reason code") {
            $0.entries[0].extensions = [.init(oid: [2, 5, 29, 21], critical: false, value: [0x05, 0x00])]
        },
    ]

    @Test("is refused when it is not complete and understood", arguments: flaws)
    func refused(flaw: Flaw) throws {
        let root = try TestAuthority.root()
        var plan = RevocationPlan(now: testNow, revoking: try root.leaf())
        flaw.change(&plan)
        let error = #expect(throws: RevocationListError.self) { try Self.list(of: root, plan) }
        let text = error.map { "\($0)" } ?? "accepted"
        #expect(text.contains(flaw.words), "\(text)")
    }

    @Test("is refused beyond its bounds")
    func bounds() throws {
        let root = try TestAuthority.root()
        let leaf = try root.leaf { $0.serial = Certificate.SerialNumber(UInt64(1)) }
        var plan = RevocationPlan(now: testNow)
        plan.entries = (0...RevocationList.entriesMax).map { index in
            var entry = RevocationPlan.Entry(leaf, date: testNow)
            entry.serial = [UInt8(index >> 8 & 0x7f), UInt8(index & 0xff)]
            return entry
        }
        #expect(throws: RevocationListError.tooManyEntries(RevocationList.entriesMax + 1)) {
            try Self.list(of: root, plan)
        }
        let large = [UInt8](repeating: 0x30, count: RevocationList.bytesMax + 1)
        #expect(throws: RevocationListError.tooLarge(bytes: large.count)) { try RevocationList(derEncoded: large) }
    }

    @Test("cut off anywhere, followed by anything, or with any one bit changed, is no list of its signer")
    func damaged() throws {
        let root = try TestAuthority.root()
        var plan = RevocationPlan(now: testNow, revoking: try root.leaf())
        plan.keyIdentifier = try root.certificate.extensions.subjectKeyIdentifier?.keyIdentifier
        plan.entries[0].extensions = [RevocationPlan.reason(1)]
        let der = try plan.der(issuer: root.certificate.subject, key: root.key)
        #expect(try RevocationList(derEncoded: der).isSigned(by: root.certificate))
        for length in 0..<der.count {
            #expect(throws: RevocationListError.self) { try RevocationList(derEncoded: Array(der[..<length])) }
        }
        #expect(throws: RevocationListError.self) { try RevocationList(derEncoded: der + [0]) }
        for index in der.indices {
            var changed = der
            changed[index] ^= 1 << UInt8(index % 8)
            guard let list = try? RevocationList(derEncoded: changed) else { continue }
            #expect(!list.isSigned(by: root.certificate), "byte \(index)")
        }
    }

    @Test("of chance does no harm")
    func fuzz() throws {
        let root = try TestAuthority.root()
        var random = SeededGenerator(seed: 20_261_121)
        let der = try RevocationPlan(now: testNow, revoking: root.leaf(), root.leaf())
            .der(issuer: root.certificate.subject, key: root.key)
        for _ in 0..<4000 {
            let changed = random.mutation(of: der)
            if changed != der, let list = try? RevocationList(derEncoded: changed) {
                #expect(!list.isSigned(by: root.certificate))
            }
            _ = try? RevocationList.read(random.bytes(upTo: 200))
        }
    }

    @Test("is read from PEM, alone or with others, and from DER")
    func files() throws {
        let root = try TestAuthority.root()
        let list = try Self.list(of: root, RevocationPlan(now: testNow, revoking: try root.leaf()))
        let pem = PEMDocument(type: "X509 CRL", derBytes: list.der).pemString + "\n"
        #expect(try RevocationList.read(Array(pem.utf8)) == [list])
        #expect(try RevocationList.read(Array("# ours\n\(pem)\(pem)".utf8)) == [list, list])
        #expect(try RevocationList.read(list.der) == [list])
        #expect(try RevocationList.read(Array(" \n".utf8)).isEmpty)
        #expect(throws: RevocationListFileError.noList) { try RevocationList.read(Array("nothing here".utf8)) }
        #expect(throws: RevocationListFileError.unexpectedBlock("CERTIFICATE", line: 1)) {
            try RevocationList.read(Array(root.certificate.pem().utf8))
        }
        #expect(throws: RevocationListFileError.self) { try RevocationList.read(Array(pem.utf8.dropLast(30))) }
    }
}
