/// Something that cannot be shown: what, and what to do about it.
struct CertificateProblem: Error, Hashable, Sendable {
    /// Where, when it is one of several files.
    var file: String?
    let message: String
    let hint: String
    /// The system's reason, when it is one.
    let code: Int32?

    init(file: String? = nil, message: String, hint: String, code: Int32? = nil) {
        self.file = file
        self.message = message
        self.hint = hint
        self.code = code
    }

    /// Two lines.
    func text(ink: Ink) -> String {
        let place = file.map { "\($0): " } ?? ""
        return "\(ink("error:", .bad)) \(place)\(message)\n\(ink("hint:", .caution)) \(hint)\n"
    }
}
