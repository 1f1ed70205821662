/// Everything that is wrong with a mesh file, in the order of its lines.
public struct MeshFileError: Error, Hashable, Sendable {
    public struct Problem: Hashable, Sendable {
        /// Counted from 1, as are columns; 0 when the problem is with the file as a whole.
        public let line: Int
        public let column: Int
        /// What was expected, and what was found instead.
        public let message: String
    }

    /// How many problems are kept; further ones are only counted.
    public static let problemsMax = 50

    /// The file as the operator named it.
    public let file: String
    public let problems: [Problem]
    /// Found beyond `problemsMax`.
    public let omitted: Int

    init(file: String, problems: [Problem], omitted: Int = 0) {
        self.file = file
        self.problems = problems
        self.omitted = omitted
    }

    init(file: String, _ message: String, line: Int = 0, column: Int = 0) {
        self.init(file: file, problems: [Problem(line: line, column: column, message: message)])
    }
}

extension MeshFileError: CustomStringConvertible {
    /// `file:line:column: expected …, got …`, one line per problem.
    public var description: String {
        let lines = problems.map { problem in
            let place = problem.line > 0 ? "\(file):\(problem.line):\(problem.column)" : file
            return "\(place): \(problem.message)"
        }
        return (lines + (omitted > 0 ? ["\(file): and \(omitted) more"] : [])).joined(separator: "\n")
    }
}
