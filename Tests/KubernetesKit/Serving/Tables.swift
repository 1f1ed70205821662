/// Objects as rows (`meta.k8s.io/v1 Table`): what `kubectl get` prints.
enum Tables {
    private struct Column {
        let name: String
        var type = "string"
        /// 0 is printed always, 1 with `-o wide`.
        var priority = 0
        let cell: (JSON, Double) -> JSON
    }

    static func table(
        of objects: [StoredObject], _ resource: Resource, resourceVersion: Int, now: Double, withColumns: Bool
    ) -> JSON {
        let columns = columns(resource)
        let definitions = columns.map { column -> JSON in
            [
                "name": .string(column.name), "type": .string(column.type),
                "format": column.name == "Name" ? "name" : "", "description": .string(column.name),
                "priority": .integer(column.priority),
            ]
        }
        let rows = objects.map { object -> JSON in
            [
                "cells": .array(columns.map { $0.cell(object.json, now) }),
                "object": Representation.metadata(of: object, named: true),
            ]
        }
        return .object([
            "kind": "Table", "apiVersion": "meta.k8s.io/v1",
            "metadata": ["resourceVersion": .string(String(resourceVersion))],
            "columnDefinitions": withColumns ? .array(definitions) : .null, "rows": .array(rows),
        ])
    }

    private static func columns(_ resource: Resource) -> [Column] {
        let name = Column(name: "Name") { object, _ in object["metadata"]["name"] }
        let age = Column(name: "Age") { object, now in
            .string(Self.age(since: object["metadata"]["creationTimestamp"], now: now))
        }
        func text(_ title: String, _ path: String, wide: Bool = false) -> Column {
            Column(name: title, priority: wide ? 1 : 0) { object, _ in .string(object.at(path).string ?? "<none>") }
        }
        func number(_ title: String, _ path: String) -> Column {
            Column(name: title, type: "integer") { object, _ in .integer(object.at(path).integer ?? 0) }
        }
        let middle: [Column] =
            switch resource.kind {
            case "Pod":
                [
                    Column(name: "Ready") { pod, _ in .string(ready(pod)) },
                    Column(name: "Status") { pod, _ in .string(status(pod)) },
                    Column(name: "Restarts") { pod, _ in
                        .string(
                            String(
                                (pod["status"]["containerStatuses"].array ?? []).reduce(0) {
                                    $0 + ($1["restartCount"].integer ?? 0)
                                }))
                    }, age, text("IP", "status.podIP", wide: true), text("Node", "spec.nodeName", wide: true),
                    text("Nominated Node", "status.nominatedNodeName", wide: true),
                    Column(name: "Readiness Gates", priority: 1) { _, _ in "<none>" },
                ]
            case "Namespace": [text("Status", "status.phase")]
            case "Node":
                [
                    Column(name: "Status") { node, _ in
                        let isReady = condition("Ready", of: node) == "True"
                        let isOff = node["spec"]["unschedulable"] == true
                        return .string((isReady ? "Ready" : "NotReady") + (isOff ? ",SchedulingDisabled" : ""))
                    },
                    Column(name: "Roles") { _, _ in "<none>" }, age, text("Version", "status.nodeInfo.kubeletVersion"),
                ]
            case "Service":
                [
                    text("Type", "spec.type"), text("Cluster-IP", "spec.clusterIP"),
                    Column(name: "External-IP") { _, _ in "<none>" },
                    Column(name: "Port(s)") { service, _ in
                        .string(
                            (service["spec"]["ports"].array ?? []).map {
                                "\($0["port"].integer ?? 0)/\($0["protocol"].string ?? "TCP")"
                            }.joined(separator: ","))
                    },
                ]
            case "ConfigMap", "Secret":
                (resource.kind == "Secret" ? [text("Type", "type")] : [])
                    + [Column(name: "Data") { map, _ in .string(String(map["data"].object?.count ?? 0)) }]
            case "ServiceAccount": [number("Secrets", "secrets")]
            case "Lease": [text("Holder", "spec.holderIdentity")]
            case "Event":
                [
                    text("Last Seen", "lastTimestamp"), text("Type", "type"), text("Reason", "reason"),
                    Column(name: "Object") { event, _ in
                        let subject = event["involvedObject"]
                        return .string("\(subject["kind"].string?.lowercased() ?? "")/\(subject["name"].string ?? "")")
                    }, text("Message", "message"),
                ]
            case "DaemonSet":
                [
                    number("Desired", "status.desiredNumberScheduled"),
                    number("Current", "status.currentNumberScheduled"),
                    number("Ready", "status.numberReady"), number("Up-to-date", "status.updatedNumberScheduled"),
                    number("Available", "status.numberAvailable"),
                ]
            case "Deployment", "StatefulSet":
                [
                    Column(name: "Ready") { set, _ in
                        .string(
                            "\(set.at("status.readyReplicas").integer ?? 0)/\(set.at("spec.replicas").integer ?? 0)")
                    }
                ]
            case "EndpointSlice": [text("AddressType", "addressType")]
            case "RoleBinding", "ClusterRoleBinding":
                [
                    Column(name: "Role") { binding, _ in
                        .string("\(binding.at("roleRef.kind").string ?? "")/\(binding.at("roleRef.name").string ?? "")")
                    }
                ]
            default: []
            }
        if resource.kind == "Event" { return middle }
        return [name] + middle + (middle.contains { $0.name == "Age" } ? [] : [age])
    }

    private static func ready(_ pod: JSON) -> String {
        let ready = (pod["status"]["containerStatuses"].array ?? []).filter { $0["ready"] == true }.count
        return "\(ready)/\((pod["spec"]["containers"].array ?? []).count)"
    }

    private static func status(_ pod: JSON) -> String {
        if pod["metadata"]["deletionTimestamp"] != .null { return "Terminating" }
        return pod["status"]["reason"].string ?? pod["status"]["phase"].string ?? "Unknown"
    }

    private static func condition(_ type: String, of object: JSON) -> String? {
        (object["status"]["conditions"].array ?? []).first { $0["type"].string == type }?["status"].string
    }

    /// As `kubectl` writes durations: two units where the larger is small.
    static func age(since time: JSON, now: Double) -> String {
        guard let start = time.string.flatMap(Timestamps.seconds) else { return "<unknown>" }
        let seconds = max(0, Int(now - start))
        if seconds < 120 { return "\(seconds)s" }
        if seconds < 600 { return "\(seconds / 60)m" + (seconds % 60 > 0 ? "\(seconds % 60)s" : "") }
        if seconds < 3 * 3600 { return "\(seconds / 60)m" }
        if seconds < 8 * 3600 {
            return "\(seconds / 3600)h" + (seconds / 60 % 60 > 0 ? "\(seconds / 60 % 60)m" : "")
        }
        if seconds < 48 * 3600 { return "\(seconds / 3600)h" }
        return "\(seconds / 86_400)d"
    }
}
