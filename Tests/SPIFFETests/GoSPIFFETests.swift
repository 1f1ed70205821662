import FoundationEssentials
import Glibc
import SPIFFE
import SeededRandom
import SwiftASN1
import Testing
import X509

/// go-spiffe's verdicts on the inputs of our own tables, and ours beside them.
///
/// They are facts about another program, found by `Tests/go-spiffe/main.go`: every difference is listed here with its reason, and one that
/// is not a difference any more fails, too.
@Suite("Compared with go-spiffe")
struct GoSPIFFETests {
    private struct Verdicts: Codable, Equatable {
        let version: String
        /// The accepted ones.
        let ids: [String]
        let idCount: Int
        /// How many authorities were read; -1: refused.
        let bundles: [String: Int]
        /// The SPIFFE ID; empty: refused.
        let chains: [String: String]
    }

    private struct Inputs: Encodable {
        struct Document: Encodable {
            let name: String
            let text: Data
        }
        struct Bundle: Encodable {
            let domain: String
            let roots: [Data]
        }
        struct Chain: Encodable {
            let name: String
            let now: Int64
            let bundles: [Bundle]
            let chain: [Data]
        }
        let ids: [Data]
        let bundles: [Document]
        let chains: [Chain]
    }

    private static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "go-spiffe").path()

    private static func committed() throws -> Verdicts {
        try JSONDecoder().decode(
            Verdicts.self, from: try Data(contentsOf: URL(filePath: "\(directory)/verdicts.json")))
    }

    // MARK: Inputs

    private static let ids: [String] = {
        var texts = SPIFFEIDTests.table.map(\.text)
        for byte in UInt8.min...UInt8.max {
            let scalar = String(Unicode.Scalar(byte))
            texts += ["spiffe://td" + scalar, "spiffe://td/p" + scalar, "spiffe://" + scalar + "/p"]
        }
        var generator = SeededGenerator(seed: 0x60)
        let seeds = ["spiffe://td.test/ns/shop/sa/web", "spiffe://td", "spiffe://a_b-c.d/.../-"].map { Array($0.utf8) }
        for round in 0..<3000 {
            texts.append(String(decoding: generator.mutation(of: seeds[round % seeds.count]), as: UTF8.self))
        }
        return texts
    }()

    /// Names repeat in some tables.
    private static func named<Element>(_ elements: [(String, Element)]) -> [(name: String, element: Element)] {
        var seen: [String: Int] = [:]
        return elements.map { name, element in
            seen[name, default: 0] += 1
            return (seen[name] == 1 ? name : "\(name) (\(seen[name] ?? 0))", element)
        }
    }

    /// The rows of our table, whose keys have a certificate and nothing else; and documents with whole keys, as we write them ourselves.
    private static func documents() throws -> [(name: String, text: String)] {
        let (first, second) = (try TestAuthority.root().certificate, try TestAuthority.root().certificate)
        let domain = try TrustDomain("td.test")
        func written(_ roots: [Certificate], _ hint: Int? = nil) throws -> String {
            try TrustBundle(trustDomain: domain, authorities: roots, sequence: 7, refreshHint: hint).jwks()
        }
        let one = try written([first])
        let key = String(one.split(separator: "[", maxSplits: 1)[1].dropLast(2))
        let other = Data(second.der()).base64EncodedString()
        func changed(_ old: String, _ new: String) -> String { one.replacing(old, with: new) }
        let rsa = try Certificate(pemEncoded: Fixture.text("root-rsa"))
        let roots = try keyedRoots()
        let whole: [(String, String)] = [
            ("ours, one root", one), ("ours, two roots and a hint", try written([first, second], 300)),
            ("ours, every kind of key but Ed25519", try written(Array(roots.prefix(3)) + [rsa])),
            ("ours, Ed25519", try written([roots[3]])), ("ours, no root", try written([])),
            ("whole key of unknown use", changed("\"x509-svid\"", "\"sig\"")),
            ("whole key without use", changed("\"use\":\"x509-svid\",", "")),
            ("whole key with a kid", changed("\"use\"", "\"kid\":\"a\",\"use\"")),
            ("whole key without x5c", changed(",\"x5c\":", ",\"y5c\":")),
            ("whole key, two in x5c", changed("\"]}]", "\",\"\(other)\"]}]")),
            ("whole key, x5c of another key", changed(Data(first.der()).base64EncodedString(), other)),
            ("whole key twice", changed(key, "\(key),\(key)")),
            ("whole jwt-svid key without kid", changed("x509-svid", "jwt-svid")),
            ("whole key with unknown members", changed("\"use\"", "\"new\":{\"a\":[1]},\"use\"")),
            ("document with unknown members", changed("\"keys\"", "\"new\":{\"a\":[1]},\"keys\"")),
            ("document cut off", String(one.dropLast())), ("document with text after it", one + "x"),
            ("document with another after it", one + one),
        ]
        let table = TrustBundleTests.table.map { ($0.testDescription, $0.document(first, second)) }
        return named(table + whole).map { ($0.name, $0.element) }
    }

    private static var chains: [(name: String, element: PeerVerifierTests.Case)] {
        named((PeerVerifierTests.leafCases + PeerVerifierTests.chainCases).map { ($0.testDescription, $0) })
    }

    private static func inputs() throws -> Inputs {
        Inputs(
            ids: ids.map { Data($0.utf8) },
            bundles: try documents().map { .init(name: $0.name, text: Data($0.text.utf8)) },
            chains: try chains.map { name, row in
                let (bundles, chain) = try row.build()
                return Inputs.Chain(
                    name: name, now: Int64(testNow.timeIntervalSince1970),
                    bundles: bundles.map { bundle in
                        .init(domain: bundle.trustDomain.name, roots: bundle.authorities.map { Data($0.der()) })
                    }, chain: chain.map { Data($0.der()) })
            })
    }

    // MARK: Comparison

    /// Chains that go-spiffe believes and we do not, and why.
    private static let stricterChains: [String: String] = [
        "V10: leaf without digitalSignature": "X509-SVID section 4.3",
        "V10: leaf without key usage": "X509-SVID section 4.3",
        "V11: ID without a path": "X509-SVID section 2: the trust domain itself is no workload",
        "V13: intermediate without key usage": "X509-SVID section 4.3 wants keyCertSign",
        "V20: any purpose is not the purpose": "X509-SVID section 4.4",
        "V20: intermediate whose purposes exclude the role": "what an authority is limited to binds those below it",
        "V20: only clientAuth, as a server": "X509-SVID section 4.4",
        "V20: only serverAuth, as a client": "X509-SVID section 4.4",
    ]

    /// Documents that the two read differently, and why.
    private static let otherBundles: [String: String] = {
        var differences = [
            "B11: sequence 2^63": "what no reader with signed integers can hold is not a sequence",
            "B14: a member twice": "readers differ in which one counts",
            "B17: more than 1 MiB": "bounded",
            "whole key without x5c": "an entry that brings no certificate is passed over, as one of another use is",
            "whole key, two in x5c": "the first is the authority; the others are none of ours",
        ]
        // go-spiffe's library wants the parameters of every key, and refuses the document for one that it cannot use; we go by the
        // certificate, and pass over what is not ours.
        for name in [
            "B3: unknown use", "B3: use in other letters", "B4: use missing", "B5: unknown kty", "B5: kty missing",
            "B6: x5c missing", "B6: x5c empty", "B7: two in x5c: the first counts",
            "B9: kid beside a certificate is tolerated", "B10: jwt-svid and wit-svid with kid, which are not ours",
            "B15: the same certificate twice",
        ] {
            differences[name] = "a key without parameters"
        }
        return differences
    }()

    @Test(
        "SPIFFE IDs: the same ones are legal, but for the specification's limits of length, which go-spiffe leaves to others"
    )
    func identities() throws {
        let theirs = try Self.committed()
        #expect(theirs.idCount == Self.ids.count)
        let accepted = Set(theirs.ids)
        for text in Self.ids {
            let isLong =
                text.utf8.count > SPIFFEID.maximumBytes
                || text.utf8.dropFirst(9).prefix { $0 != 0x2f }.count > TrustDomain.maximumBytes
            let isOurs = (try? SPIFFEID(text)) != nil
            #expect(isOurs == (accepted.contains(text) && !isLong), "\(text.debugDescription)")
            if isLong { #expect(!isOurs) }
        }
    }

    @Test("bundles: the same authorities are read, but for what is listed")
    func bundles() throws {
        let (theirs, documents) = (try Self.committed().bundles, try Self.documents())
        #expect(Set(theirs.keys) == Set(documents.map(\.name)))
        for (name, text) in documents {
            let ours = try? TrustBundle(trustDomain: TrustDomain("td.test"), jwks: text.utf8).authorities.count
            expect(name, ours: ours ?? -1, theirs: theirs[name], Self.otherBundles)
        }
        #expect(Set(Self.otherBundles.keys).isSubset(of: theirs.keys))
    }

    @Test("chains: none is believed that go-spiffe refuses, and those that only it believes are listed")
    func peers() throws {
        let theirs = try Self.committed().chains
        #expect(Set(theirs.keys) == Set(Self.chains.map(\.name)))
        for (name, row) in Self.chains {
            let ours = row.refused == nil
            expect(name, ours: ours, theirs: theirs[name].map { !$0.isEmpty }, Self.stricterChains)
            #expect(!ours || theirs[name]?.isEmpty == false, "\(name)")
        }
        #expect(Set(Self.stricterChains.keys).isSubset(of: theirs.keys))
    }

    private func expect<Verdict: Equatable>(
        _ name: String, ours: Verdict, theirs: Verdict?, _ differences: [String: String]
    ) {
        let text = "\(name): ours \(ours), theirs \(theirs.map { "\($0)" } ?? "unknown")"
        #expect((ours == theirs) == (differences[name] == nil), "\(text)")
    }

    @Test(
        "what is committed is what go-spiffe says; if not, the new verdicts are put in its place",
        .enabled(if: getenv("CULVERT_GO_SPIFFE") != nil, "set CULVERT_GO_SPIFFE to the built Tests/go-spiffe"))
    func anew() throws {
        let program = String(cString: try #require(getenv("CULVERT_GO_SPIFFE")))
        let place = "/tmp/culvert-go-spiffe-\(getpid())"
        defer { for suffix in ["in", "out"] { unlink("\(place).\(suffix)") } }
        try JSONEncoder().encode(try Self.inputs()).write(to: URL(filePath: "\(place).in"))
        #expect(system("'\(program)' <\(place).in >\(place).out") == 0)
        let data = try Data(contentsOf: URL(filePath: "\(place).out"))
        let found = try JSONDecoder().decode(Verdicts.self, from: data)
        let present = try? Self.committed()
        if found != present { try data.write(to: URL(filePath: "\(Self.directory)/verdicts.json")) }
        #expect(found == present)
    }
}
