import Testing

/// Names the lines that differ.
func expectSame(_ before: String, _ after: String, _ location: SourceLocation = #_sourceLocation) {
    let difference = after.split(separator: "\n").difference(from: before.split(separator: "\n"))
    let lines = difference.map { change in
        switch change {
        case .insert(_, let line, _): "+ \(line)"
        case .remove(_, let line, _): "- \(line)"
        }
    }
    #expect(lines == [], sourceLocation: location)
}
