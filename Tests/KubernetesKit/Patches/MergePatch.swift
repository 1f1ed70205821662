/// RFC 7386: members replace members, `null` removes, everything else is replaced as a whole.
enum MergePatch {
    static func apply(_ patch: JSON, to value: JSON) -> JSON {
        guard case .object(let changes) = patch else { return patch }
        var members = value.object ?? [:]
        for (name, change) in changes {
            if change == .null {
                members.removeValue(forKey: name)
            } else {
                members[name] = apply(change, to: members[name] ?? .null)
            }
        }
        return .object(members)
    }
}
