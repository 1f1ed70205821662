@testable import culvert

/// What is printed of a run: one line for each step.
struct ClusterReport {
    struct Step {
        let name: String
        let seconds: Double
        let made: Int
        /// That nobody promised to keep.
        let byDesign: Int
        let failed: Int
        let plaintext: UInt64
        let tunnelled: UInt64
    }

    var steps: [Step] = []
    /// From the label in the API to the agent's word, by pod.
    var enrolled: [(pod: String, time: Duration)] = []
    var notes: [String] = []

    var text: String {
        func column(_ title: String) -> TextTable.Column { .init(title: title, alignment: .right) }
        var table = TextTable(columns: [
            .init(title: "step"), column("s"), column("connections"), column("ended by design"), column("failed"),
            column("plaintext B"), column("tunnelled B"),
        ])
        table.separatesRows = false
        for step in steps {
            let seconds = Int(step.seconds * 10)
            let cells = [
                step.name, "\(seconds / 10).\(seconds % 10)", "\(step.made)", "\(step.byDesign)", "\(step.failed)",
                "\(step.plaintext)", "\(step.tunnelled)",
            ]
            table.rows.append(cells.map { [.init(text: $0)] })
        }
        let times = enrolled.map { "\($0.pod) \($0.time / .milliseconds(1)) ms" }.map { text in
            text.split(separator: " ").map { $0.split(separator: ".")[0] }.joined(separator: " ")
        }
        return table.render(Ink(isColoured: false)) + "label to enrolled: \(times.joined(separator: ", "))\n"
            + notes.map { $0 + "\n" }.joined()
    }
}
