/// Events are stored in the core group's form, and served in both.
enum EventConversion {
    /// Names in `events.k8s.io/v1`, and in `v1`.
    private static let names: [(new: String, core: String)] = [
        ("regarding", "involvedObject"), ("note", "message"), ("reportingController", "reportingComponent"),
        ("deprecatedSource", "source"), ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"), ("deprecatedCount", "count"),
    ]

    /// The form in which the resource's objects are kept.
    static func stored(_ object: JSON, _ resource: Resource) -> JSON {
        var object = object
        if resource == .events {
            for name in names {
                object[name.core] = object[name.new]
                object[name.new] = nil
            }
        }
        object["apiVersion"] = resource == .events ? "v1" : .string(resource.apiVersion)
        object["kind"] = .string(resource.kind)
        return object
    }

    /// The form in which the resource answers.
    static func served(_ object: JSON, _ resource: Resource) -> JSON {
        guard resource == .events else { return object }
        var object = object
        for name in names {
            object[name.new] = object[name.core]
            object[name.core] = nil
        }
        object["apiVersion"] = .string(resource.apiVersion)
        return object
    }
}
