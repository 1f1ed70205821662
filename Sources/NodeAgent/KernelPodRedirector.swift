public import LinuxNetworking
public import Logging
public import Redirection

/// Redirects pods by rules in their own namespaces (the `nft` backend) or where connections are made (`ebpf`).
public struct KernelPodRedirector: PodRedirector {
    private let directory: PodRecordDirectory
    private let capture: SocketCapture?
    private let pinDirectory: String?
    private let marker: ProbeMarker?
    private let probeSource: ProbeSource?
    private let proxyCgroup: NFTCgroup?

    /// `stateDirectory` exists and is this agent's alone. With `capture` the backend is `ebpf`; `pinDirectory` is where an agent of that
    /// backend has its pins. By `proxyCgroup` the `nft` backend knows the proxy; without it, by its mark. `marker`
    /// lets the kubelet through the rules of strict pods; `probeSource` through either backend's, where the node gives it that source.
    public init(
        stateDirectory: String, capture: SocketCapture? = nil, pinDirectory: String? = nil,
        marker: ProbeMarker? = nil, probeSource: ProbeSource? = nil, proxyCgroup: NFTCgroup? = nil, logger: Logger
    ) throws {
        self.probeSource = probeSource
        self.proxyCgroup = proxyCgroup
        self.capture = capture
        self.pinDirectory = pinDirectory
        self.marker = marker
        directory = try PodRecordDirectory(path: stateDirectory, logger: logger)
    }

    public func records() throws -> [PodRecord] { try Array(directory.all().values) }

    public func record(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws {
        var record = PodRecord(uid: uid, netns: path, namespace: NamespaceID(namespace))
        if let earlier = try directory.read(uid: uid), earlier.namespace == record.namespace,
            try redirection(uid, namespace, plan).state() == .complete
        {
            record.isConnectionsReset = earlier.isConnectionsReset
        }
        try directory.write(record)
    }

    public func install(
        uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan
    ) throws -> Bool {
        try redirection(uid, namespace, plan).install()
        return try directory.read(uid: uid)?.isConnectionsReset != true
    }

    public func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int {
        let count = try redirection(uid, namespace, plan).destroyConnections()
        if var record = try directory.read(uid: uid) {
            record.isConnectionsReset = true
            try directory.write(record)
        }
        return count
    }

    public func drift(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        try redirection(uid, namespace).missing()
    }

    public func missingListeners(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        try redirection(uid, namespace).missingListeners()
    }

    public func release(uid: String, from namespace: NetworkNamespace) throws {
        try redirection(uid, namespace).release()
    }

    public func proxiedConnections(uid: String, in namespace: NetworkNamespace) throws -> Int {
        try redirection(uid, namespace).proxiedConnections()
    }

    public func remove(uid: String, from namespace: NetworkNamespace?) throws {
        if let namespace {
            try redirection(uid, namespace).remove()
        }
        try capture?.forget(pod: uid)
        try PodRedirection.forget(pod: uid, stateDirectory: directory.path, pinDirectory: pinDirectory)
        try directory.remove(uid: uid)
    }

    private func redirection(
        _ uid: String, _ namespace: NetworkNamespace, _ plan: RedirectionPlan = RedirectionPlan()
    ) throws -> PodRedirection {
        var plan = plan
        plan.proxyCgroup = proxyCgroup
        plan.probeSource = probeSource
        return try PodRedirection(
            pod: uid, namespace: namespace, stateDirectory: directory.path, plan: plan, capture: capture,
            pinDirectory: pinDirectory, marker: marker)
    }
}
