public import LinuxNetworking
public import Logging
import Redirection

/// Redirects pods by rules in their own namespaces (the `nft` backend).
public struct NFTPodRedirector: PodRedirector {
    private let directory: PodRecordDirectory

    /// `stateDirectory` exists and is this agent's alone.
    public init(stateDirectory: String, logger: Logger) throws {
        directory = try PodRecordDirectory(path: stateDirectory, logger: logger)
    }

    public func records() throws -> [PodRecord] { try Array(directory.all().values) }

    public func install(uid: String, netns path: String, in namespace: NetworkNamespace) throws -> Bool {
        let redirection = try redirection(uid, namespace)
        var record = PodRecord(uid: uid, netns: path, namespace: NamespaceID(namespace))
        if let earlier = try directory.read(uid: uid), earlier.namespace == record.namespace,
            try redirection.state() == .complete
        {
            record.isConnectionsReset = earlier.isConnectionsReset
        }
        // Before the first rule, so that there is none that nobody knows of.
        try directory.write(record)
        try redirection.install()
        return !record.isConnectionsReset
    }

    public func resetConnections(uid: String, in namespace: NetworkNamespace) throws -> Int {
        let count = try redirection(uid, namespace).destroyConnections()
        if var record = try directory.read(uid: uid) {
            record.isConnectionsReset = true
            try directory.write(record)
        }
        return count
    }

    public func drift(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        switch try redirection(uid, namespace).state() {
        case .complete: []
        case .absent: ["redirection"]
        case .partial(let missing): missing
        }
    }

    public func remove(uid: String, from namespace: NetworkNamespace?) throws {
        if let namespace {
            try redirection(uid, namespace).remove()
        }
        try PodRedirection.forget(pod: uid, stateDirectory: directory.path)
        try directory.remove(uid: uid)
    }

    private func redirection(_ uid: String, _ namespace: NetworkNamespace) throws -> PodRedirection {
        try PodRedirection(pod: uid, namespace: namespace, stateDirectory: directory.path)
    }
}
