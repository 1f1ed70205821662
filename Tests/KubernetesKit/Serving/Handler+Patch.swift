extension Handler {
    private static let types = [
        "application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml",
        "application/strategic-merge-patch+json",
    ]

    /// - Returns: the object, and whether the patch has created it (server-side apply may).
    func patch(
        _ resource: Resource, _ request: ReadRequest, warn: (String) -> Void
    ) throws -> (StoredObject, isNew: Bool) {
        let info = request.info
        guard Self.types.contains(request.contentType) else { throw Refusal.unsupportedMediaType(Self.types) }
        let options = try options(request)
        let namespace = resource.isNamespaced ? info.namespace : ""
        if request.contentType == "application/apply-patch+yaml" {
            let body = try Decoding.checked(
                try Decoding.yaml(request), resource, options.fieldValidation, warn: warn)
            guard let manager = info.query["fieldManager"], !manager.isEmpty else {
                throw Refusal.invalid(
                    Resource("", "PatchOptions", group: "meta.k8s.io"), "",
                    [.required("fieldManager", "is required for apply patch")])
            }
            // An apply that makes the object needs the right to create it, beside that to patch.
            if registry.storage.read({ $0.object(resource, namespace, info.name) }) == nil {
                var attributes = info.attributes
                attributes.verb = "create"
                if let why = authorizer.denial(request.user, attributes) {
                    throw Refusal.forbidden(resource, info.name, why)
                }
            }
            return try registry.apply(resource, namespace, info.name, subresource: info.subresource, body, options)
        }
        guard !options.isForced else {
            throw Refusal.invalid(
                Resource("", "PatchOptions", group: "meta.k8s.io"), "",
                [.forbidden("force", "may not be specified for non-apply patch")])
        }
        let patch = try Decoding.json(request)
        var warnings: [String] = []
        let result = try registry.modify(
            resource, namespace, info.name, subresource: info.subresource, options
        ) { old in
            let before = EventConversion.served(old.json, resource)
            var after: JSON
            switch request.contentType {
            case "application/json-patch+json":
                do {
                    after = try JSONPatch.apply(patch, to: before)
                } catch let mismatch as JSONPatch.Mismatch {
                    throw Refusal(
                        code: 422, reason: "Invalid",
                        message: "the server rejected our request due to an error in our request"
                            + ": \(mismatch.message)")
                }
            case "application/merge-patch+json": after = MergePatch.apply(patch, to: before)
            default: after = try StrategicMergePatch.apply(patch, to: before, schema: .of(resource))
            }
            if let flaw = FieldCheck.mistyped(in: after, of: .of(resource), kind: resource.kind) {
                throw Refusal.badRequest(flaw)
            }
            let unknown = FieldCheck.unknownFields(in: after, of: .of(resource))
            if !unknown.isEmpty, options.fieldValidation == .strict {
                let list = unknown.map { "unknown field \"\($0)\"" }.joined(separator: ", ")
                throw Refusal.invalid(
                    resource, info.name, [.invalid("patch", .string(patch.text), "strict decoding error: \(list)")])
            }
            if options.fieldValidation == .warn { warnings = unknown.map { "unknown field \"\($0)\"" } }
            after = FieldCheck.pruned(after, to: .of(resource))
            guard after["metadata"]["name"].string == info.name else {
                throw Refusal.badRequest("the name of the object does not match the name on the URL (\(info.name))")
            }
            if resource.isNamespaced, after["metadata"]["namespace"].string != namespace {
                throw Refusal.badRequest(
                    "the namespace of the provided object does not match the namespace sent on the request")
            }
            return EventConversion.stored(after, resource)
        }
        warnings.forEach(warn)
        return (result, false)
    }
}
