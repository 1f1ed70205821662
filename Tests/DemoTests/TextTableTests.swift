import Testing

@testable import culvert

@Suite("Tables and amounts")
struct TextTableTests {
    private let table: TextTable = {
        var table = TextTable(columns: [
            TextTable.Column(title: "PAIR"), TextTable.Column(title: "BYTES", alignment: .right),
            TextTable.Column(title: "NOTE"),
        ])
        table.rows = [
            [
                [TextTable.Line(text: "a → b"), TextTable.Line(text: "near", style: .dim)],
                [TextTable.Line(text: "0 B", style: .good)], [TextTable.Line(text: "fine")],
            ],
            [[TextTable.Line(text: "c")], [TextTable.Line(text: "1234567")], []],
        ]
        return table
    }()

    @Test("line up, without spaces at the end of lines")
    func plain() {
        #expect(
            table.render(Ink(isColoured: false)) == """
                PAIR     BYTES  NOTE
                ─────  ───────  ────
                a → b      0 B  fine
                near

                c      1234567

                """)
    }

    @Test("have the same text in colour")
    func coloured() {
        let coloured = table.render(Ink(isColoured: true))
        #expect(coloured.contains("\u{1b}[32m0 B\u{1b}[0m"))
        var text = coloured
        for code in ["0", "1", "2", "32"] { text = text.split(separator: "\u{1b}[\(code)m").joined() }
        #expect(text == table.render(Ink(isColoured: false)))
    }

    @Test(
        "show bytes with one unit",
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB"),
            (5 << 30, "5.0 GiB"), (9000 << 30, "9000.0 GiB"),
        ] as [(UInt64, String)])
    func bytes(count: UInt64, text: String) {
        #expect(Quantity.bytes(count) == text)
    }

    @Test(
        "show durations with one unit",
        arguments: [
            (.zero, "0.0 ms"), (.microseconds(420), "0.4 ms"), (.milliseconds(12), "12 ms"),
            (.milliseconds(999), "999 ms"),
            (.milliseconds(1250), "1.3 s"), (.seconds(61), "61.0 s"),
        ] as [(Duration, String)])
    func durations(duration: Duration, text: String) {
        #expect(Quantity.duration(duration) == text)
    }
}
