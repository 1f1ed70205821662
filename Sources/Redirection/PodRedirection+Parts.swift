import Glibc
import IPAddressing
import LinuxNetworking

/// How a pod's connections are captured.
public enum CaptureKind: String, CaseIterable, Sendable {
    /// By rules in the pod.
    case nft
    /// Where they are made.
    case ebpf
}

extension PodRedirection {
    /// Compares everything with the kernel's state: rules, routes, settings, programs.
    public func state() throws(RedirectionError) -> RedirectionState {
        let isPinned =
            capture != nil && (pinDirectory.map { SocketCapture.isCaptured(pod: pod, directory: $0) } ?? false)
        return RedirectionState(try ownParts(), isAnythingThere: isPinned)
    }

    /// What is missing, or is not as it should be; `install` mends it.
    public func missing() throws(RedirectionError) -> [String] {
        try ownParts().missing
    }

    /// Of the backend that installs here.
    private func ownParts() throws(RedirectionError) -> [CapturePart] {
        try parts(capture == nil ? .nft : .ebpf, proxyCgroup: capture?.proxies.fixed)
    }

    /// What is there of the backend's, read from the kernel alone: the agent may be dead. Without a backend, the one that the
    /// pod has something of.
    public func parts(_ backend: CaptureKind? = nil) throws(RedirectionError) -> (CaptureKind, [CapturePart]) {
        let backend = if let backend { backend } else { try kindPresent() }
        return (backend, try parts(backend, proxyCgroup: nil))
    }

    private func kindPresent() throws(RedirectionError) -> CaptureKind {
        if let pinDirectory, SocketCapture.isCaptured(pod: pod, directory: pinDirectory) { return .ebpf }
        return try inside { () throws(RedirectionError) in try record()?.rulesetDigest == nil } ? .ebpf : .nft
    }

    private func parts(
        _ backend: CaptureKind, proxyCgroup: UInt64?
    ) throws(RedirectionError) -> [CapturePart] {
        try inside { () throws(RedirectionError) in
            let record = try record()
            var parts = [CapturePart("record", isPresent: record != nil, isProof: true)]
            switch backend {
            case .nft:
                parts.append(try ruleset(record))
                if record?.isMarked == true, let pinDirectory {
                    parts += try ProbeMarker.parts(ofPod: pod, in: namespace, directory: pinDirectory)
                }
            case .ebpf:
                parts += try SocketCapture.parts(
                    ofPod: pod, in: namespace, directory: pinDirectory ?? PodGuard.standardDirectory,
                    proxyCgroup: proxyCgroup, plan: record?.plan)
            }
            parts += try routing(backend)
            for setting in try RequiredSetting.present() where backend == .nft || !setting.isForTranslation {
                let value = try kernel { () throws(Errno) in try Sysctl.read(setting.name) }
                // A setting may have had our value all along: its being there proves nothing.
                parts.append(
                    CapturePart("sysctl \(setting.name) = \(setting.value)", isPresent: value == setting.value))
            }
            return parts
        }
    }

    private func ruleset(_ record: RedirectionRecord?) throws(RedirectionError) -> CapturePart {
        guard let listing = try nft().listing() else { return CapturePart("ruleset", isPresent: false) }
        let rules = NFTCgroup.numbered(listing)
        guard RedirectionRecord.digest(rules) == record?.rulesetDigest else {
            return CapturePart("unchanged ruleset", isPresent: false)
        }
        // It may have been made anew, with another number.
        if let cgroup = plan.proxyCgroup, !rules.contains(cgroup.match("\(try cgroup.identifier())")) {
            return CapturePart("proxy's cgroup", isPresent: false, isProof: true)
        }
        return CapturePart("ruleset", isPresent: true, isProof: true)
    }

    private func routing(_ backend: CaptureKind) throws(RedirectionError) -> [CapturePart] {
        try kernel { () throws(Errno) in
            let routes = try RouteSocket()
            let own = try routes.addresses().map(\.address).filter { !$0.isLoopback }
            var parts: [CapturePart] = []
            for family in try families() {
                let hasRule = try routes.rules(family).contains(loopRule(family))
                let table = try routes.routes(family, table: RedirectionPlan.loopTable)
                let hasRoute = table.contains { route in
                    let isLocal = route.kind == .local && route.destination.length == 0 && route.link == 1
                    // Without a source of its own IPv4 takes the destination for it.
                    let needsSource = backend == .ebpf && family == .v4 && own.contains { $0.family == .v4 }
                    return isLocal && (!needsSource || route.preferredSource.map(own.contains) ?? false)
                }
                parts.append(CapturePart("rule \(family)", isPresent: hasRule, isProof: true))
                parts.append(CapturePart("route \(family)", isPresent: hasRoute, isProof: true))
            }
            return parts
        }
    }

    /// What goes around the proxy, as the record has it.
    public func exclusions() throws(RedirectionError) -> PodExclusions? {
        try inside { () throws(RedirectionError) in try record()?.exclusions }
    }

    /// Those of the proxy's listeners that are not there: nothing reaches the pod, or leaves it, without them.
    public func missingListeners() throws(RedirectionError) -> [String] {
        try listeners().missing
    }

    /// The proxy's listeners in the pod, as the kernel lists its sockets; and where they are captured, as its map holds them.
    public func listeners() throws(RedirectionError) -> [CapturePart] {
        try inside { () throws(RedirectionError) in
            let open = try kernel { () throws(Errno) in try SocketDiagnostics.listeningTCP().map(\.local) }
            let families = try kernel { () throws(Errno) in try self.families() }
            var parts: [CapturePart] = []
            for family in families {
                let isOpen = open.contains { $0.port == plan.outboundPort && $0.ip == .loopback(family) }
                parts.append(CapturePart("listener \(plan.outboundPort) \(family)", isPresent: isOpen))
            }
            for port in [plan.inboundPort, plan.tunnelPort] {
                parts.append(
                    CapturePart("listener \(port)", isPresent: open.contains { $0.port == port && $0.ip.isUnspecified })
                )
            }
            guard let pinDirectory, SocketCapture.isCaptured(pod: pod, directory: pinDirectory) else { return parts }
            let slots = try SocketCapture.listenersPresent(ofPod: pod, directory: pinDirectory) ?? []
            let names = ["\(plan.outboundPort) v4", "\(plan.outboundPort) v6", "\(plan.inboundPort)"]
            for (slot, name) in names.enumerated() where slot != 1 || families.contains(.v6) {
                parts.append(CapturePart("listener \(name) in the map", isPresent: slots.contains(UInt32(slot))))
            }
            return parts
        }
    }
}
