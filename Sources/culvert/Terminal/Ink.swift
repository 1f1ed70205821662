import Glibc

/// Colour for a terminal, or none.
struct Ink: Sendable {
    enum Style: Sendable {
        case plain
        case bold
        case dim
        case good
        case bad
        case caution

        /// SGR parameters (ECMA-48 8.3.117).
        fileprivate var code: String? {
            switch self {
            case .plain: nil
            case .bold: "1"
            case .dim: "2"
            case .good: "32"
            case .bad: "1;31"
            case .caution: "33"
            }
        }
    }

    let isColoured: Bool

    init(isColoured: Bool) { self.isColoured = isColoured }

    /// Coloured when `descriptor` is a terminal that can do it and the user has not said otherwise (no-color.org).
    init(for descriptor: Int32) {
        let refused = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        let isDumb = getenv("TERM").map { strcmp($0, "dumb") == 0 } ?? true
        isColoured = isatty(descriptor) == 1 && !refused && !isDumb
    }

    func callAsFunction(_ text: String, _ style: Style) -> String {
        guard isColoured, !text.isEmpty, let code = style.code else { return text }
        return "\u{1b}[\(code)m\(text)\u{1b}[0m"
    }
}
