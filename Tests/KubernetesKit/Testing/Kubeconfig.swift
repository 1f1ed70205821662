internal import FoundationEssentials

extension APIServer {
    /// How a client proves who it is.
    public enum Login: Sendable {
        case administrator
        case certificate(user: String, groups: [String])
        case token(String)
        /// A token in a file that may be replaced while the client runs.
        case tokenFile(String)
        case nobody
    }

    /// The root that the server's certificate is verified with, in PEM.
    public var rootCertificate: String { credentials.root }

    /// A kubeconfig (v1) in JSON, which is YAML.
    ///
    /// - Parameter url: where the client reaches the server, if not at `url`.
    public func kubeconfig(_ login: Login = .administrator, url: String? = nil, namespace: String = "default") throws
        -> String
    {
        func data(_ text: String) -> JSON { .string(Base64.text(Array(text.utf8))) }
        let user: JSON
        switch login {
        case .administrator:
            let pair = try credentials.client(user: "kubernetes-admin", groups: ["system:masters"])
            user = ["client-certificate-data": data(pair.certificate), "client-key-data": data(pair.key)]
        case .certificate(let name, let groups):
            let pair = try credentials.client(user: name, groups: groups)
            user = ["client-certificate-data": data(pair.certificate), "client-key-data": data(pair.key)]
        case .token(let token): user = ["token": .string(token)]
        case .tokenFile(let path): user = ["tokenFile": .string(path)]
        case .nobody: user = .object([:])
        }
        let cluster: JSON = [
            "server": .string(url ?? self.url), "certificate-authority-data": data(credentials.root),
        ]
        let context: JSON = ["cluster": "stand-in", "user": "user", "namespace": .string(namespace)]
        let config: JSON = [
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [["name": "stand-in", "cluster": cluster]], "users": [["name": "user", "user": user]],
            "contexts": [["name": "stand-in", "context": context]],
        ]
        return config.text
    }

    /// Writes what a pod finds below `/var/run/secrets/kubernetes.io/serviceaccount`: `token`, `ca.crt`, `namespace`.
    public func writeServiceAccountMount(
        to directory: String, _ namespace: String, serviceAccount: String, pod: String? = nil
    ) throws {
        let token = try token(namespace, serviceAccount: serviceAccount, pod: pod)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for (name, text) in [("token", token), ("ca.crt", rootCertificate), ("namespace", namespace)] {
            try Data(text.utf8).write(to: URL(filePath: directory + "/" + name), options: .atomic)
        }
    }
}
