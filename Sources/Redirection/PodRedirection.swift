import Glibc
import IPAddressing
public import LinuxNetworking

/// Leads the TCP connections of one pod into the proxy, and keeps all others from leaving: by rules in its namespace (the `nft`
/// backend), or where connections are made (`ebpf`).
///
/// A pod of one backend may be installed by the other: what is there is replaced, the new before the old is taken away.
///
/// Everything is in the pod's own namespace and in one record file in the state directory, written before the first change.
/// So both `install` and `remove` can be repeated, and finish what was cut short at any point, by any process.
/// One object or process works on a pod at a time. All calls block for a moment, at most for nft's timeout.
public struct PodRedirection: Sendable {
    let pod: String
    let namespace: NetworkNamespace
    let plan: RedirectionPlan
    let file: RecordFile
    let capture: SocketCapture?
    let pinDirectory: String?
    let marker: ProbeMarker?
    private let nftPath: String?
    private let timeout: Duration

    /// `pod` is the UID, which names the record file. `nftPath` is looked for in the usual places by default. With `capture` the
    /// backend is `ebpf`; `pinDirectory` is where an agent of that backend may have left something. `marker`
    /// lets the kubelet of a probed pod through the rules.
    public init(
        pod: String, namespace: NetworkNamespace, stateDirectory: String, plan: RedirectionPlan = RedirectionPlan(),
        capture: SocketCapture? = nil, pinDirectory: String? = nil, marker: ProbeMarker? = nil,
        nftPath: String? = nil,
        timeout: Duration = .seconds(10)
    ) throws(RedirectionError) {
        guard PodRedirection.isValid(pod) else { throw .invalidPod(pod) }
        self.pod = pod
        self.namespace = namespace
        self.plan = plan
        self.capture = capture
        self.pinDirectory = pinDirectory
        self.marker = marker
        self.nftPath = nftPath
        self.timeout = timeout
        file = RecordFile(directory: stateDirectory, name: pod + ".redirection")
    }

    private static func isValid(_ pod: String) -> Bool {
        let bytes = Array(pod.utf8)
        guard (1...128).contains(bytes.count), let first = bytes.first, isAlphanumeric(first) else { return false }
        return bytes.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default:
            false
        }
    }

    // MARK: - Installing

    /// In the order they are taken; each may be repeated, and all before a step are done when it begins.
    enum Step: String, CaseIterable, Codable {
        /// The record: from now on `remove` can undo everything.
        case record
        case settings
        case routing
        /// From now on connections are led to the proxy, and no others leave.
        case capture
        /// Ends connections that an earlier plan excluded and this one does not.
        case exclusions
        /// Takes what the other backend left away; and notes what the rules look like, so that a change to them is seen.
        case digest
    }

    /// After this no new TCP connection passes the proxy by, and no byte of an old one leaves; existing connections hang until
    /// `destroyConnections`.
    public func install() throws(RedirectionError) {
        for step in Step.allCases { try perform(step) }
    }

    func perform(_ step: Step) throws(RedirectionError) {
        try inside { () throws(RedirectionError) in
            switch step {
            case .record: try writeRecord()
            case .settings: try changeSettings()
            case .routing: try addRouting()
            case .capture:
                if let capture {
                    try capture.capture(pod: pod, in: namespace, plan: plan)
                } else {
                    if isMarked { try marker?.attach(pod: pod, in: namespace) } else { try releaseMarker() }
                    try nft().apply(NFTRuleset.render(plan))
                }
            case .digest:
                if capture == nil {
                    try releaseSockets(.outbound)
                    try releaseSockets(.inbound)
                    try noteDigest()
                } else {
                    try releaseMarker()
                    try removeRules()
                }
            case .exclusions: try endExcluded()
            }
        }
    }

    private func writeRecord() throws(RedirectionError) {
        // A record of this namespace stays: what it holds is from before any change, the current values are not.
        if let record = try record() {
            // Until `endExcluded` has been there.
            return try note(record.exclusions.union(plan.exclusions), in: record)
        }
        let settings = try RequiredSetting.present().map { (setting) throws(RedirectionError) in
            RedirectionRecord.Setting(
                name: setting.name, value: try kernel { () throws(Errno) in try Sysctl.read(setting.name) })
        }
        let record = RedirectionRecord(
            bootID: try bootID(), namespace: identity, settings: settings, exclusions: plan.exclusions,
            isProbed: plan.isProbed, isMarked: isMarked, probeSource: probeSource)
        try file.write(record.text)
    }

    private func changeSettings() throws(RedirectionError) {
        for setting in try needed() {
            try kernel { () throws(Errno) in
                // Unchanged ones are not written: the file may be read-only in a container that has it right already.
                if try Sysctl.read(setting.name) != setting.value { try Sysctl.write(setting.name, setting.value) }
            }
        }
    }

    private func needed() throws(RedirectionError) -> [RequiredSetting] {
        try RequiredSetting.present().filter { capture == nil || !$0.isForTranslation }
    }

    private func addRouting() throws(RedirectionError) {
        try kernel { () throws(Errno) in
            let routes = try RouteSocket()
            // What is led to loopback by its mark begins there, too: without this IPv4 would take the destination for the source.
            let source = try routes.addresses().map(\.address).first { $0.family == .v4 && !$0.isLoopback }
            for family in try families() {
                try routes.addLocalRoute(
                    family, table: RedirectionPlan.loopTable,
                    preferredSource: capture != nil && family == .v4 ? source : nil)
                try routes.addRule(loopRule(family))
            }
        }
    }

    private func noteDigest() throws(RedirectionError) {
        guard var record = try record() else {
            throw .record(path: file.path, reason: "has disappeared during installation")
        }
        guard let listing = try nft().listing() else {
            throw .nftFailed(status: 0, message: "the table has disappeared during installation")
        }
        let digest = RedirectionRecord.digest(NFTCgroup.numbered(listing))
        if record.rulesetDigest == digest { return }
        record.rulesetDigest = digest
        try file.write(record.text)
    }

    /// At the socket nothing has to be marked.
    private var isMarked: Bool { plan.isProbed && plan.probeSource == nil && marker != nil && capture == nil }
    private var probeSource: ProbeSource? { plan.isProbed ? plan.probeSource : nil }

    private func note(_ exclusions: PodExclusions, in record: RedirectionRecord) throws(RedirectionError) {
        var changed = record
        changed.exclusions = exclusions
        changed.isProbed = plan.isProbed
        changed.isMarked = isMarked
        changed.probeSource = probeSource
        if changed != record { try file.write(changed.text) }
    }

    /// They would hang at the guard, or go on in plaintext to where it does not stand.
    private func endExcluded() throws(RedirectionError) {
        guard let record = try record() else { return }
        guard record.exclusions != plan.exclusions else { return }
        try destroy { record.exclusions.mayHold(local: $0.local, remote: $0.remote) }
        try note(plan.exclusions, in: record)
    }

    // MARK: - Gone

    /// Removes what is left of a pod whose namespace is gone.
    public static func forget(
        pod: String, stateDirectory: String, pinDirectory: String? = nil
    ) throws(RedirectionError) {
        guard isValid(pod) else { throw .invalidPod(pod) }
        if let pinDirectory {
            try SocketCapture.release(pod: pod, directory: pinDirectory)
            try ProbeMarker.release(pod: pod, directory: pinDirectory)
        }
        try RecordFile(directory: stateDirectory, name: pod + ".redirection").remove()
    }

    // MARK: - Looking

    /// `nil` without rules.
    public func counters() throws(RedirectionError) -> RedirectionCounters? {
        try inside { () throws(RedirectionError) in
            guard let text = try nft().counters() else { return nil }
            return RedirectionCounters(listing: text)
        }
    }

    /// Resets the pod's connections that began before `install` and so pass the proxy by; answers how many.
    ///
    /// Spared are those within the pod, the proxy's own, and those of excluded ports. To be called once, before the proxy takes
    /// connections of the pod: the application's end of a redirected connection cannot be told from an old one.
    @discardableResult
    public func destroyConnections() throws(RedirectionError) -> Int {
        try inside { () throws(RedirectionError) in try destroy { _ in true } }
    }

    /// Of the connections that go around the proxy and may not. In the namespace.
    @discardableResult
    private func destroy(_ isMeant: (SocketDiagnostics.TCPSocketEntry) -> Bool) throws(RedirectionError) -> Int {
        try kernel { () throws(Errno) in
            let own = Set(try RouteSocket().addresses().map(\.address))
            return try SocketDiagnostics.destroyTCP { isMeant($0) && passesBy($0, own) }
        }
    }

    private func passesBy(_ socket: SocketDiagnostics.TCPSocketEntry, _ own: Set<IPAddress>) -> Bool {
        let mark = socket.mark & RedirectionPlan.markMask
        return mark != RedirectionPlan.proxyMark && mark != RedirectionPlan.loopMark
            && !socket.remote.ip.isLoopback && !socket.local.ip.isLoopback && !own.contains(socket.remote.ip)
            && !plan.exclusions.mayHold(local: socket.local, remote: socket.remote)
    }

    // MARK: -

    func loopRule(_ family: IPAddress.Family) -> RoutingRule {
        RoutingRule(
            family: family, mark: RedirectionPlan.loopMark, table: RedirectionPlan.loopTable,
            priority: RedirectionPlan.loopPriority)
    }

    /// IPv6 only where the loopback interface has it: the kernel refuses the route otherwise.
    func families() throws(Errno) -> [IPAddress.Family] {
        do throws(Errno) {
            return try Sysctl.read("net/ipv6/conf/lo/disable_ipv6") == "0" ? [.v4, .v6] : [.v4]
        } catch  where error.code == ENOENT {
            return [.v4]
        }
    }

    private var identity: String { "\(namespace.device):\(namespace.inode)" }

    private func bootID() throws(RedirectionError) -> String {
        try kernel { () throws(Errno) in try Sysctl.read("kernel/random/boot_id") }
    }

    /// `nil` when there is none, or it is of a namespace the pod had before.
    func record() throws(RedirectionError) -> RedirectionRecord? {
        guard let text = try file.read() else { return nil }
        guard let record = RedirectionRecord(text: text) else {
            throw .record(
                path: file.path,
                reason: "is damaged: restore the sysctls it names by hand if the pod lives, then delete it")
        }
        let boot = try bootID()
        return record.namespace == identity && record.bootID == boot ? record : nil
    }

    func nft() throws(RedirectionError) -> NFTCommand { try NFTCommand(path: nftPath, timeout: timeout) }

    func inside<R>(_ body: () throws(RedirectionError) -> R) throws(RedirectionError) -> R {
        var result: Result<R, RedirectionError>?
        do {
            try namespace.run { result = Result(catching: body) }
        } catch let error as Errno {
            throw .kernel(error)
        } catch {
            preconditionFailure("entering a namespace throws Errno only")
        }
        return try result!.get()
    }

    func kernel<R>(_ body: () throws(Errno) -> R) throws(RedirectionError) -> R {
        do throws(Errno) {
            return try body()
        } catch {
            throw .kernel(error)
        }
    }
}
