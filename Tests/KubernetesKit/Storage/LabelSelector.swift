/// A label selector as it stands in a query: equality and sets, joined by commas.
struct LabelSelector: Sendable {
    enum Requirement: Sendable, Equatable {
        case oneOf(String, [String])
        case noneOf(String, [String])
        case exists(String)
        case absent(String)
        case greater(String, Int)
        case less(String, Int)
    }

    let requirements: [Requirement]

    /// Throws what the real server answers: 400 with the place that cannot be understood.
    init(_ text: String) throws {
        var scanner = Scanner(text: Array(text))
        var requirements: [Requirement] = []
        scanner.skipSpace()
        while !scanner.isAtEnd {
            requirements.append(try scanner.requirement())
            scanner.skipSpace()
            guard !scanner.isAtEnd else { break }
            guard scanner.take(",") else {
                throw scanner.refusal("found '\(scanner.rest)', expected: ',' or 'end of string'")
            }
        }
        self.requirements = requirements
    }

    /// The `matchLabels` and `matchExpressions` of an object; nil where the object has a flaw.
    init?(object: JSON) {
        var requirements: [Requirement] = []
        for (key, value) in object["matchLabels"].object ?? [:] {
            requirements.append(.oneOf(key, [value.string ?? ""]))
        }
        for expression in object["matchExpressions"].array ?? [] {
            guard let key = expression["key"].string else { return nil }
            let values = (expression["values"].array ?? []).compactMap(\.string)
            switch expression["operator"].string {
            case "In": requirements.append(.oneOf(key, values))
            case "NotIn": requirements.append(.noneOf(key, values))
            case "Exists": requirements.append(.exists(key))
            case "DoesNotExist": requirements.append(.absent(key))
            default: return nil
            }
        }
        self.requirements = requirements
    }

    func matches(_ labels: [String: JSON]) -> Bool {
        requirements.allSatisfy { requirement in
            switch requirement {
            case .oneOf(let key, let values): labels[key]?.string.map(values.contains) ?? false
            case .noneOf(let key, let values): !(labels[key]?.string.map(values.contains) ?? false)
            case .exists(let key): labels[key] != nil
            case .absent(let key): labels[key] == nil
            case .greater(let key, let bound): labels[key]?.string.flatMap(Int.init).map { $0 > bound } ?? false
            case .less(let key, let bound): labels[key]?.string.flatMap(Int.init).map { $0 < bound } ?? false
            }
        }
    }

    private struct Scanner {
        let text: [Character]
        var position = 0

        var isAtEnd: Bool { position >= text.count }
        var rest: String { String(text[position...].prefix(20)) }

        func refusal(_ why: String) -> Refusal {
            .badRequest("unable to parse requirement: \(why)")
        }

        mutating func skipSpace() {
            while !isAtEnd, text[position] == " " { position += 1 }
        }

        mutating func take(_ word: String) -> Bool {
            skipSpace()
            guard text[position...].starts(with: word) else { return false }
            position += word.count
            return true
        }

        mutating func word() -> String {
            skipSpace()
            let start = position
            while !isAtEnd, !" ,()=!<>".contains(text[position]) { position += 1 }
            return String(text[start..<position])
        }

        mutating func requirement() throws -> Requirement {
            let isNegated = take("!")
            let key = word()
            guard Names.isQualifiedName(key) else {
                throw refusal("<nil>: Invalid value: \"\(key)\": name part must consist of alphanumeric characters")
            }
            if isNegated { return .absent(key) }
            skipSpace()
            if isAtEnd || text[position] == "," { return .exists(key) }
            if take("==") || take("=") { return .oneOf(key, [try value(of: key)]) }
            if take("!=") { return .noneOf(key, [try value(of: key)]) }
            if take(">") { return .greater(key, try bound()) }
            if take("<") { return .less(key, try bound()) }
            let found = word()
            switch found {
            case "in": return .oneOf(key, try values(of: key))
            case "notin": return .noneOf(key, try values(of: key))
            default: throw refusal("found '\(found)', expected: in, notin, =, ==, !=, gt, lt")
            }
        }

        mutating func bound() throws -> Int {
            let text = word()
            guard let bound = Int(text) else { throw refusal("for 'Gt', 'Lt' operators, the value must be an integer") }
            return bound
        }

        mutating func value(of key: String) throws -> String {
            let value = word()
            guard Names.isLabelValue(value) else {
                throw refusal(
                    "values[0][\(key)]: Invalid value: \"\(value)\": a valid label must be an empty string or "
                        + "consist of alphanumeric characters, '-', '_' or '.'")
            }
            return value
        }

        mutating func values(of key: String) throws -> [String] {
            guard take("(") else { throw refusal("found '\(rest)' expected: '('") }
            var values: [String] = []
            repeat { values.append(try value(of: key)) } while take(",")
            guard take(")") else { throw refusal("found '\(rest)', expected: ',' or ')'") }
            return values
        }
    }
}
