import IPAddressing
import SPIFFE
import Yams

/// What must be unique or must exist across sections, with the place where it was first seen.
struct MeshFileNames {
    struct InNamespace: Hashable {
        let namespace: String
        let name: String
    }

    var namespaces: [String: Position] = [:]
    var uids: [String: Position] = [:]
    var pods: [InNamespace: Position] = [:]
    var services: [InNamespace: Position] = [:]
    var hostnames: [InNamespace: Position] = [:]
    var addresses: [IPAddress: Position] = [:]
    /// By node and path.
    var networkNamespaces: [[String]: Position] = [:]
}

extension MeshFileReader {
    /// nil when something required is missing or wrong; with problems reported, a value is not to be used either.
    mutating func file(_ root: Node?) -> MeshFile? {
        guard let root else {
            report(Position(line: 1, column: 1), "expected the mesh as a mapping, got nothing")
            return nil
        }
        let optional = ["namespaces", "pods", "services", "enrolmentLabel"]
        guard let fields = fields(root, "the mesh", required: ["trustDomain"], optional: optional) else { return nil }

        let trustDomain = trustDomain(fields["trustDomain"])
        let label = string(fields["enrolmentLabel"], "the enrolment label", .labelKey)
        var names = MeshFileNames()
        let namespaces = list(fields["namespaces"], "namespaces").compactMap { namespace($0, &names) }
        let pods = list(fields["pods"], "pods").compactMap { pod($0, trustDomain, &names) }
        let services = list(fields["services"], "services").compactMap { service($0, &names) }
        guard let trustDomain else { return nil }
        return MeshFile(
            trustDomain: trustDomain, enrolmentLabel: label ?? MeshFile.defaultEnrolmentLabel, namespaces: namespaces,
            pods: pods, services: services)
    }

    private mutating func trustDomain(_ node: Node?) -> TrustDomain? {
        guard let node, let text = string(node, "a trust domain") else { return nil }
        do {
            return try TrustDomain(text)
        } catch {
            report(node.position, "expected a trust domain, got \(YAMLValue.string(text).description): \(error)")
            return nil
        }
    }

    private mutating func namespace(_ node: Node, _ names: inout MeshFileNames) -> MeshFile.Namespace? {
        let optional = ["labels", "mtlsMode"] + Self.exclusionKeys
        guard let fields = fields(node, "a namespace", required: ["name"], optional: optional) else { return nil }
        let labels = labels(fields["labels"])
        let isStrict = isStrict(fields["mtlsMode"])
        let exclusions = exclusions(fields)
        guard let name = string(fields["name"], "a namespace name", .label) else { return nil }
        unique(name, "a namespace name", fields["name"]?.position, in: &names.namespaces)
        return MeshFile.Namespace(name: name, labels: labels, isStrict: isStrict, exclusions: exclusions)
    }

    private mutating func isStrict(_ node: Node?) -> Bool {
        guard let node, let text = string(node, "a mode") else { return false }
        if text != "strict" && text != "permissive" {
            let got = YAMLValue.string(text).description
            report(node.position, "expected the mode strict or permissive, got \(got)")
        }
        return text == "strict"
    }

    private mutating func pod(
        _ node: Node, _ trustDomain: TrustDomain?, _ names: inout MeshFileNames
    ) -> MeshFile.Pod? {
        let required = ["uid", "name", "namespace", "node", "addresses"]
        let optional = ["serviceAccount", "netns", "labels"] + Self.exclusionKeys
        guard let fields = fields(node, "a pod", required: required, optional: optional) else { return nil }

        let uid = string(fields["uid"], "a uid", .uid)
        if let uid { unique(uid, "a uid", fields["uid"]?.position, in: &names.uids) }
        let name = string(fields["name"], "a pod name", .subdomain)
        let namespace = knownNamespace(fields["namespace"], names)
        if let name, let namespace {
            let key = MeshFileNames.InNamespace(namespace: namespace, name: name)
            unique(key, shown: name, "a pod name in namespace \(namespace)", fields["name"]?.position, in: &names.pods)
        }
        let serviceAccount =
            fields["serviceAccount"] == nil
            ? "default" : string(fields["serviceAccount"], "a service account", .subdomain)
        let onNode = string(fields["node"], "a node name", .subdomain)
        let addresses = addresses(fields["addresses"], &names)
        if let list = fields["addresses"], case .list(let elements) = YAMLValue(list), elements.isEmpty {
            report(list.position, "expected at least one address of the pod, got an empty list")
        }
        let netns = string(fields["netns"], "a netns", .path)
        if let netns, let onNode {
            let what = "a netns on node \(onNode)"
            unique([onNode, netns], shown: netns, what, fields["netns"]?.position, in: &names.networkNamespaces)
        }
        let labels = labels(fields["labels"])
        let exclusions = exclusions(fields)
        guard let uid, let name, let namespace, let serviceAccount, let onNode, let trustDomain,
            let identity = identity(trustDomain, namespace, serviceAccount, at: fields.position)
        else { return nil }
        return MeshFile.Pod(
            uid: uid, name: name, namespace: namespace, serviceAccount: serviceAccount, node: onNode,
            addresses: addresses, netns: netns, labels: labels, exclusions: exclusions, identity: identity)
    }

    private mutating func identity(
        _ trustDomain: TrustDomain, _ namespace: String, _ serviceAccount: String, at position: Position
    ) -> SPIFFEID? {
        do {
            return try SPIFFEID(trustDomain: trustDomain, namespace: namespace, serviceAccount: serviceAccount)
        } catch {
            report(position, "expected a namespace and service account that make a SPIFFE ID, got: \(error)")
            return nil
        }
    }

    private mutating func service(_ node: Node, _ names: inout MeshFileNames) -> MeshFile.Service? {
        let required = ["name", "namespace", "ports"]
        let optional = ["hostname", "addresses", "pods"]
        guard let fields = fields(node, "a service", required: required, optional: optional) else { return nil }

        let name = string(fields["name"], "a service name", .label)
        let namespace = knownNamespace(fields["namespace"], names)
        var hostname = string(fields["hostname"], "a hostname", .subdomain)
        let addresses = addresses(fields["addresses"], &names)
        let ports = ports(fields["ports"])
        guard let name, let namespace else { return nil }
        if fields["hostname"] == nil { hostname = "\(name).\(namespace).svc.cluster.local" }
        guard let hostname else { return nil }

        let key = MeshFileNames.InNamespace(namespace: namespace, name: name)
        unique(
            key, shown: name, "a service name in namespace \(namespace)", fields["name"]?.position, in: &names.services)
        let host = MeshFileNames.InNamespace(namespace: namespace, name: hostname)
        let position = fields["hostname"]?.position ?? fields["name"]?.position
        unique(host, shown: hostname, "a hostname in namespace \(namespace)", position, in: &names.hostnames)
        return MeshFile.Service(
            name: name, namespace: namespace, hostname: hostname, addresses: addresses, ports: ports,
            pods: endpoints(fields["pods"], namespace, names))
    }

    private mutating func ports(_ node: Node?) -> [MeshFile.Service.Port] {
        var seen: [UInt16: Position] = [:]
        return list(node, "ports").compactMap { element in
            guard let fields = fields(element, "a port", required: ["port"], optional: ["targetPort"]) else {
                return nil
            }
            let target = port(fields["targetPort"], "a target port")
            guard let port = port(fields["port"], "a port") else { return nil }
            unique(port, shown: String(port), "a port of the service", fields["port"]?.position, in: &seen)
            return MeshFile.Service.Port(port: port, targetPort: target ?? port)
        }
    }

    private mutating func endpoints(_ node: Node?, _ namespace: String, _ names: MeshFileNames) -> [String] {
        var seen: [String: Position] = [:]
        return list(node, "pods of a service").compactMap { element in
            guard let pod = string(element, "a pod name", .subdomain) else { return nil }
            guard names.pods[MeshFileNames.InNamespace(namespace: namespace, name: pod)] != nil else {
                report(element.position, "expected the name of a pod in namespace \(namespace), got \"\(pod)\"")
                return nil
            }
            unique(pod, "a pod of the service", element.position, in: &seen)
            return pod
        }
    }

    // MARK: - Parts of several sections

    private mutating func knownNamespace(_ node: Node?, _ names: MeshFileNames) -> String? {
        guard let node, let name = string(node, "a namespace name", .label) else { return nil }
        if names.namespaces[name] == nil {
            // Still the pod's namespace: what else is wrong with the pod is reported as well.
            report(node.position, "expected a namespace listed under 'namespaces', got \"\(name)\"")
        }
        return name
    }

    private mutating func labels(_ node: Node?) -> [String: String] {
        guard let node else { return [:] }
        guard case .mapping(let pairs) = YAMLValue(node) else {
            report(node.position, "expected labels as a mapping, got \(YAMLValue(node).description)")
            return [:]
        }
        var labels: [String: String] = [:]
        for (key, value) in pairs {
            guard let name = string(key, "a label key", .labelKey),
                let text = string(value, "the value of label \(name)", .labelValue)
            else { continue }
            labels[name] = text
        }
        return labels
    }

    private mutating func addresses(_ node: Node?, _ names: inout MeshFileNames) -> [IPAddress] {
        list(node, "addresses").compactMap { element in
            guard let text = string(element, "an IP address") else { return nil }
            guard let address = IPAddress(text), !address.isUnspecified, !address.isLoopback else {
                let got = YAMLValue.string(text).description
                report(element.position, "expected the IPv4 or IPv6 address of one host, got \(got)")
                return nil
            }
            unique(address, shown: text, "an address", element.position, in: &names.addresses)
            return address
        }
    }

    private mutating func unique(
        _ text: String, _ what: String, _ position: Position?, in seen: inout [String: Position]
    ) {
        unique(text, shown: text, what, position, in: &seen)
    }

    private mutating func unique<Key: Hashable>(
        _ key: Key, shown: String, _ what: String, _ position: Position?, in seen: inout [Key: Position]
    ) {
        guard let position else { return }
        if let first = seen[key] {
            report(position, "expected \(what) used once, got \"\(shown)\" again (first in line \(first.line))")
        } else {
            seen[key] = position
        }
    }
}
