extension DemoTopology {
    /// The mesh file that tells the authority and both agents about the pods.
    func meshFile(netnsDirectory: String) -> String {
        let namespaces = pods.reduce(into: [String]()) { seen, pod in
            if !seen.contains(pod.namespace) { seen.append(pod.namespace) }
        }
        var text = "# Written by `culvert demo`.\ntrustDomain: \(DemoTopology.trustDomain)\nnamespaces:\n"
        for namespace in namespaces {
            text += "  - name: \(namespace)\n"
            if pods.contains(where: { $0.namespace == namespace && $0.isEnrolled }) {
                text += "    labels: {culvert.dev/mtls-enabled: \"true\"}\n"
            }
        }
        text += "pods:\n"
        for pod in pods {
            text += """
                  - uid: \(pod.uid)
                    name: \(pod.name)
                    namespace: \(pod.namespace)
                    serviceAccount: \(pod.name)
                    node: \(pod.node)
                    addresses: \(list(pod.address))
                    netns: \(netnsDirectory)/\(pod.networkNamespace)

                """
        }
        text += "services:\n"
        for pod in pods {
            guard let service = pod.service else { continue }
            let ports = service.ports.map { "{port: \($0.port), targetPort: \($0.target)}" }.joined(separator: ", ")
            text += """
                  - name: \(pod.name)
                    namespace: \(pod.namespace)
                    addresses: \(list(service.addresses))
                    ports: [\(ports)]
                    pods: [\(pod.name)]

                """
        }
        return text
    }

    private func list(_ address: DualAddress) -> String { "[\"\(address.v4)\", \"\(address.v6)\"]" }
}
