import SPIFFE
import Testing

/// The dossier's list 1.7, whole: one or more lines for each of its 24 rows.
@Suite("SPIFFE IDs (list 1.7)")
struct SPIFFEIDTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let row: Int
        let text: String
        let isLegal: Bool
        var testDescription: String {
            "row \(row): \(text.utf8.count > 80 ? "\(text.utf8.count) bytes" : text.debugDescription)"
        }
    }

    static func rows(_ row: Int, _ isLegal: Bool, _ texts: String...) -> [Row] {
        texts.map { Row(row: row, text: $0, isLegal: isLegal) }
    }

    static let table: [Row] =
        rows(1, false, "")
        + rows(2, false, "s", "spiffe:/", "spiffe:td/p", "Spiffe://td/p", "https://td/p", " spiffe://td/p")
        + rows(3, false, "spiffe://", "spiffe:///p")
        + rows(4, true, "spiffe://td")
        + rows(5, false, "spiffe://td/")
        + rows(6, false, "spiffe://td//", "spiffe://td//p", "spiffe://td/p//q")
        + rows(7, false, "spiffe://td/p/")
        + rows(
            8, false, "spiffe://td/.", "spiffe://td/./p", "spiffe://td/p/./q", "spiffe://td/p/..", "spiffe://td/..",
            "spiffe://td/../p", "spiffe://td/p/../q", "spiffe://td/./")
        + rows(9, true, "spiffe://td/.p", "spiffe://td/..p", "spiffe://td/...", "spiffe://td/p..", "spiffe://td/-/_")
        + rows(12, false, "spiffe://%62%61%64/p", "spiffe://td/%62", "spiffe://td/%2f")
        + rows(13, false, "spiffe://🤯/p", "spiffe://td/🤯", "spiffe://%F0%9F%A4%AF/p", "spiffe://td/%F0%9F%A4%AF")
        // KELVIN SIGN folds to k in Unicode; e and a combining accent equal é for `String`.
        + rows(13, false, "spiffe://\u{212A}/p", "spiffe://td/e\u{301}", "spiffe://td/p\u{301}")
        + rows(14, false, "spiffe://u@td/p", "spiffe://td:80/p", "spiffe://td/p?q", "spiffe://td/p#f", "spiffe://td?q")
        + rows(15, false, "spiffe://[::1]/p")
        + rows(16, true, "spiffe://1.2.3.4/p")
        + rows(17, true, "spiffe://\(letters(255))", "spiffe://\(letters(255))/p", "spiffe://td/\(letters(2036))")
        + rows(17, false, "spiffe://\(letters(256))", "spiffe://\(letters(256))/p", "spiffe://td/\(letters(2037))")
        + rows(18, true, "spiffe://a_b-c.d/p", "spiffe://-/p", "spiffe://./p", "spiffe://../p")
        + rows(21, false, "spiffe://td/p\0.evil", "spiffe://td\0/p", "spiffe://td/p\n")
        + rows(24, false, "SPIFFE://TD/p", "spiffe://TD/p")

    static func letters(_ count: Int) -> String { String(repeating: "a", count: count) }

    @Test("reads what is legal, as it stands, and refuses the rest", arguments: table)
    func reads(row: Row) throws {
        guard row.isLegal else {
            #expect(throws: SPIFFEIDError.self) { try SPIFFEID(row.text) }
            return
        }
        let id = try SPIFFEID(row.text)
        #expect(id.description.utf8.elementsEqual(row.text.utf8))
        #expect("spiffe://\(id.trustDomain.name)\(id.path)" == row.text)
        #expect(try SPIFFEID(trustDomain: id.trustDomain, path: id.path) == id)
    }

    @Test("every row of the list is tested")
    func everyRow() {
        let inOtherTests: Set<Int> = [10, 11, 19, 20, 22, 23]
        #expect(Set(Self.table.map(\.row)).union(inOtherTests) == Set(1...24))
    }

    @Test("rows 10 and 11: of the 256 bytes, only the alphabet's may be appended")
    func everyByte() {
        let lower = Set("abcdefghijklmnopqrstuvwxyz0123456789.-_".utf8)
        let inPath = lower.union("ABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        for byte in UInt8.min...UInt8.max {
            // Bytes from 0x80 stand for themselves as a scalar: two bytes in UTF-8, both illegal.
            let scalar = String(Unicode.Scalar(byte))
            #expect(isLegal("spiffe://td" + scalar) == lower.contains(byte), "byte \(byte)")
            #expect(isLegal("spiffe://td/p" + scalar) == inPath.contains(byte), "byte \(byte)")
            let raw = String(decoding: Array("spiffe://td/p".utf8) + [byte], as: UTF8.self)
            #expect(isLegal(raw) == inPath.contains(byte), "byte \(byte)")
        }
    }

    private func isLegal(_ text: String) -> Bool { (try? SPIFFEID(text)) != nil }

    @Test(
        "row 19: a segment is never empty and never brings its own slash", arguments: ["", "/", "/foo", "$", ".", ".."])
    func segments(segment: String) throws {
        let domain = try TrustDomain("td")
        #expect(throws: SPIFFEIDError.self) { try SPIFFEID(trustDomain: domain, segments: ["a", segment]) }
        #expect(throws: SPIFFEIDError.self) {
            try SPIFFEID(trustDomain: domain, namespace: segment, serviceAccount: "b")
        }
    }

    @Test("row 20: a path begins with a slash")
    func pathWithoutSlash() throws {
        #expect(throws: SPIFFEIDError.pathWithoutSlash) { try SPIFFEID(trustDomain: TrustDomain("td"), path: "foo") }
        #expect(try SPIFFEID(trustDomain: TrustDomain("td"), path: "") == TrustDomain("td").id)
    }

    // We have no zero value: an absent ID is `nil`, and "" is refused (row 1).
    @Test("row 22: an ID and its text are the same")
    func roundTrip() throws {
        let id = try SPIFFEID("spiffe://td/ns/a/sa/b")
        #expect(try SPIFFEID("\(id)") == id)
        #expect(try TrustDomain("\(id.trustDomain)") == id.trustDomain)
    }

    @Test("row 23: an ID is a member of its own trust domain only")
    func membership() throws {
        let id = try SPIFFEID("spiffe://td/x")
        #expect(id.isMember(of: try TrustDomain("td")))
        #expect(!id.isMember(of: try TrustDomain("td2")))
    }

    @Test("row 18: a new authority takes no name that only a mistake produces")
    func newAuthority() throws {
        for name in [".", "..", "-", "-a", "a-", "a..b", "a.", ".a", "_a"] {
            #expect(throws: SPIFFEIDError.unfitForAuthority) { try TrustDomain.forNewAuthority(name) }
        }
        for name in ["culvert.demo", "a", "1", "a_b-c.d"] {
            #expect(try TrustDomain.forNewAuthority(name).name == name)
        }
    }

    @Test(
        "names namespace and service account only for exactly /ns/x/sa/y",
        arguments: [
            ("/ns/shop/sa/web", true), ("/ns/shop/sa/web/x", false), ("/ns/shop/sa", false), ("/ns/shop/web/sa", false),
            ("/NS/shop/sa/web", false), ("", false), ("/x/ns/shop/sa/web", false),
        ])
    func workload(path: String, expected: Bool) throws {
        let id = try SPIFFEID(trustDomain: TrustDomain("td"), path: path)
        #expect((id.workload != nil) == expected)
        guard let workload = id.workload else { return }
        #expect(workload == (namespace: "shop", serviceAccount: "web"))
        #expect(try SPIFFEID(trustDomain: id.trustDomain, namespace: "shop", serviceAccount: "web") == id)
    }

    @Test(
        "tells the person who typed it what to change",
        arguments: [
            ("spiffe://Td/p", "lower case"), ("spiffe://td:80/p", "no port"), ("spiffe://u@td/p", "no user part"),
            ("spiffe://td/p?q", "no query"), ("spiffe://td/%62", "percent-encoding"), ("td/p", "spiffe://"),
            ("spiffe://td/p/", "remove it"), ("spiffe://td/p q", "byte 0x20 at byte 13"),
            ("spiffe://td//p", "at byte 12"), ("spiffe://td/a/../p", "at byte 14"),
        ])
    func explains(text: String, words: String) {
        let error = #expect(throws: SPIFFEIDError.self) { try SPIFFEID(text) }
        #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }
}
