/// Something that cannot be shown: what, and what to do about it.
struct CertificateProblem: Error, Hashable, Sendable {
    /// Where, when it is one of several files.
    var file: String?
    let message: String
    let hint: String

    init(file: String? = nil, message: String, hint: String) {
        self.file = file
        self.message = message
        self.hint = hint
    }

    /// Two lines.
    func text(ink: Ink) -> String {
        let place = file.map { "\($0): " } ?? ""
        return "\(ink("error:", .bad)) \(place)\(message)\n\(ink("hint:", .caution)) \(hint)\n"
    }
}
