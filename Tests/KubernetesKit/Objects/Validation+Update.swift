extension Validation {
    /// What may not change from one version of an object to the next.
    static func flaws(from old: JSON, to new: JSON, _ resource: Resource, subresource: String) -> [Flaw] {
        var flaws: [Flaw] = []
        for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
        where new["metadata"][field] != old["metadata"][field] {
            flaws.append(.invalid("metadata.\(field)", new["metadata"][field], "field is immutable"))
        }
        if old["metadata"]["deletionTimestamp"] != .null {
            let before = Set(old["metadata"]["finalizers"].array ?? [])
            let added = (new["metadata"]["finalizers"].array ?? []).filter { !before.contains($0) }
            if !added.isEmpty {
                flaws.append(
                    .forbidden(
                        "metadata.finalizers",
                        "no new finalizers can be added if the object is being deleted, found new finalizers "
                            + JSON.array(added).text))
            }
        }
        guard subresource != "status" else { return flaws }
        switch resource.kind {
        case "Pod": flaws += pod(from: old["spec"], to: new["spec"])
        case "DaemonSet", "Deployment", "StatefulSet": flaws += immutable(["spec.selector"], old, new)
        case "ClusterRoleBinding", "RoleBinding":
            if new["roleRef"] != old["roleRef"] {
                flaws.append(.invalid("roleRef", new["roleRef"], "cannot change roleRef"))
            }
        case "EndpointSlice": flaws += immutable(["addressType"], old, new)
        case "ConfigMap", "Secret":
            if old["immutable"] == true, new["data"] != old["data"] || new["immutable"] != true {
                flaws.append(.forbidden("data", "field is immutable when `immutable` is set"))
            }
            if resource.kind == "Secret" { flaws += immutable(["type"], old, new) }
        case "Service":
            if old["spec"]["clusterIP"].string ?? "" != "", new["spec"]["type"] != "ExternalName" {
                flaws += immutable(["spec.clusterIP"], old, new)
            }
        case "PriorityClass": flaws += immutable(["value", "preemptionPolicy"], old, new)
        default: break
        }
        return flaws
    }

    private static func immutable(_ paths: [String], _ old: JSON, _ new: JSON) -> [Flaw] {
        paths.filter { old.at($0) != new.at($0) }.map { .invalid($0, new.at($0), "field is immutable") }
    }

    /// Images, the deadline, further tolerations, a shorter grace period of -1, gates that are lifted: the rest of a pod is fixed.
    private static func pod(from old: JSON, to new: JSON) -> [Flaw] {
        var comparable = new
        for list in ["containers", "initContainers"] {
            let before = old[list].array ?? []
            var after = comparable[list].array ?? []
            guard before.count == after.count else {
                return [.forbidden("spec.\(list)", "pod updates may not add or remove containers")]
            }
            for index in after.indices { after[index]["image"] = before[index]["image"] }
            comparable[list] = comparable[list] == .null ? .null : .array(after)
        }
        comparable["activeDeadlineSeconds"] = old["activeDeadlineSeconds"]
        let tolerations = new["tolerations"].array ?? []
        if (old["tolerations"].array ?? []).allSatisfy(tolerations.contains) {
            comparable["tolerations"] = old["tolerations"]
        }
        let gates = old["schedulingGates"].array ?? []
        if (new["schedulingGates"].array ?? []).allSatisfy(gates.contains) {
            comparable["schedulingGates"] = old["schedulingGates"]
        }
        guard comparable != old else { return [] }
        return [
            .forbidden(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`,"
                    + "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
                    + "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                    + "previously negative)")
        ]
    }
}
