/// A table for people: columns as wide as their widest line, cells of several lines.
struct TextTable: Sendable {
    enum Alignment: Sendable {
        case left
        case right
    }

    struct Column: Sendable {
        let title: String
        var alignment = Alignment.left
    }

    struct Line: Sendable {
        let text: String
        var style = Ink.Style.plain
    }

    let columns: [Column]
    /// Of each row one cell per column; of each cell its lines.
    var rows: [[[Line]]] = []
    /// By an empty line.
    var separatesRows = true

    init(columns: [Column]) { self.columns = columns }

    func render(_ ink: Ink) -> String {
        let widths = columns.indices.map { column in
            rows.flatMap { $0[column] }.map(\.text.count).reduce(columns[column].title.count, max)
        }
        var text = line(columns.map { Line(text: $0.title, style: .bold) }, widths, ink)
        text += ink(widths.map { String(repeating: "─", count: $0) }.joined(separator: "  "), .dim) + "\n"
        for (number, row) in rows.enumerated() {
            if separatesRows, number > 0 { text += "\n" }
            for height in 0..<(row.map(\.count).max() ?? 0) {
                text += line(row.map { height < $0.count ? $0[height] : Line(text: "") }, widths, ink)
            }
        }
        return text
    }

    private func line(_ cells: [Line], _ widths: [Int], _ ink: Ink) -> String {
        var text = ""
        for (column, cell) in cells.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - cell.text.count)
            let inked = ink(cell.text, cell.style)
            text += column == 0 ? "" : "  "
            text += columns[column].alignment == .left ? inked + padding : padding + inked
        }
        while text.last == " " { text.removeLast() }
        return text + "\n"
    }
}
