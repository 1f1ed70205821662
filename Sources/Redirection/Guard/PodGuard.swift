import BPFPrograms
import CLibBPF
import Glibc
public import IPAddressing
public import LinuxNetworking
import Synchronization

/// Keeps TCP between enrolled addresses inside the tunnel: programs on the host's end of every enrolled pod's veth, which refuse all of
/// it that is not to or from port 15008, whatever happens inside the pod and to our processes.
///
/// Everything is in the kernel, and pinned below one directory: a guard outlives the agent, and the next one adopts it, with its
/// own programs put in place of the old ones without a moment in between. One agent works on a directory at a time.
public final class PodGuard: Sendable {
    public enum Mode: String, CaseIterable, Sendable {
        case enforce
        /// Counts and reports, and lets pass.
        case audit
    }

    public enum Attachment: Sendable {
        /// tcx, or the traffic control's filters on a kernel without.
        case automatic
        case filter
    }

    /// Where pins are unless told otherwise.
    public static let standardDirectory = "/sys/fs/bpf/culvert"

    static let maps =
        ["enrolled", "guard_counts", "guard_events", "guard_policies", "guard_kubelet", "guard_sources"]
        + PinDirectory.nodeMaps

    public let mode: Mode
    private let attachment: Attachment
    private let directory: String
    private let pins: PinDirectory
    private let host: NetworkNamespace
    private let held = HeldPins()
    private let object: BPFObject
    private let events: GuardEventRing
    private let enrolled: BPFMap<culvert_address, culvert_enrolled>
    private let counts: BPFMap<culvert_guard_key, culvert_guard_count>
    private let policies: BPFMap<UInt32, culvert_policy>
    private let kubelet: BPFMap<UInt32, UInt64>
    private let sources: BPFMap<UInt32, culvert_address>
    private let probes: BPFMap<UInt32, UInt64>
    /// Changes to the enrolled addresses are made in several calls.
    private let updating = Mutex(())
    /// By which the guard of a pod stands, of pods that this object has attached.
    private let installed = Mutex<[String: RedirectionPlan]>([:])

    /// Loads the programs; what is pinned in `directory` is taken over, and nothing is changed that runs. `host` is where the host's
    /// ends of veths are.
    ///
    /// Throws `libraryMissing`, or `programRefused` with the verifier's words.
    public init(
        directory: String = standardDirectory, mode: Mode, host: NetworkNamespace, attachment: Attachment = .automatic
    ) throws(RedirectionError) {
        self.mode = mode
        self.attachment = attachment
        self.host = host
        self.directory = directory
        pins = try PinDirectory(directory)
        object = try BPFObject(.guard, pins: pins.path)
        enrolled = try object.map("enrolled", culvert_address.self, culvert_enrolled.self)
        counts = try object.map("guard_counts", culvert_guard_key.self, culvert_guard_count.self)
        policies = try object.map("guard_policies", UInt32.self, culvert_policy.self)
        kubelet = try object.map("guard_kubelet", UInt32.self, UInt64.self)
        sources = try object.map("guard_sources", UInt32.self, culvert_address.self)
        probes = try object.map("node_probe_counts", UInt32.self, UInt64.self)
        events = try GuardEventRing(map: object.map("guard_events"))
        for map in Self.maps { try held.keep(pins.path + "/" + map) }
    }

    // MARK: - Pods

    /// Puts the guard on every veth of the pod, or completes or renews what is there; and counts its addresses as enrolled, the
    /// link-local ones too.
    ///
    /// From then on no TCP passes between it and an enrolled address but the tunnel, and what `plan` excludes. Answers the host's
    /// interfaces.
    @discardableResult
    public func attach(
        pod uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan = RedirectionPlan()
    ) throws(RedirectionError) -> [UInt32] {
        let policy = try culvert_policy(plan)
        let ends = try HostEnd.all(of: namespace, in: host)
        for end in ends { try policies.set(end.interface, policy) }
        installed.withLock { $0[uid] = plan }
        try pins.makeDirectory(ofPod: uid)
        for map in Self.maps { try held.restore(pins.path + "/" + map) }
        try host.entered { () throws(RedirectionError) in
            var kept: Set<String> = []
            for end in ends {
                for guarding in try attach(to: end, of: uid) { kept.insert(guarding.name) }
            }
            // Of interfaces that the pod does not have any more.
            for name in pins.pins(ofPod: uid) where !kept.contains(name) { try remove(name, ofPod: uid) }
        }
        guard let first = ends.first else { return [] }
        try setAddresses(try addresses(in: namespace), of: first.interface)
        return ends.map(\.interface)
    }

    /// Adds what a pod has on interfaces besides loopback.
    private func addresses(in namespace: NetworkNamespace) throws(RedirectionError) -> Set<IPAddress> {
        try namespace.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                Set(try RouteSocket().addresses().map(\.address).filter { !$0.isLoopback })
            }
        }
    }

    private func attach(to end: HostEnd, of uid: String) throws(RedirectionError) -> [GuardAttachment] {
        if attachment == .automatic, try !hasFilters(end, of: uid) {
            do throws(RedirectionError) {
                return try attach(to: end, of: uid, by: .tcx) { (guarding, program, path) throws(RedirectionError) in
                    try guarding.attachLink(program, pin: path)
                }
            } catch .kernel(let error) where error.code == EINVAL {
                // A kernel before 6.6.
            }
        }
        let isHookOurs = try GuardAttachment.makeHook(end.interface)
        return try attach(to: end, of: uid, by: .filter) { (guarding, program, path) throws(RedirectionError) in
            try guarding.attachFilter(program, pin: path, isHookOurs: isHookOurs)
        }
    }

    /// Those of an earlier agent are renewed as they are, also when somebody has removed their pins.
    private func hasFilters(_ end: HostEnd, of uid: String) throws(RedirectionError) -> Bool {
        let isPinned = pins.pins(ofPod: uid).compactMap(GuardAttachment.init).contains {
            $0.means == .filter && $0.interface == end.interface
        }
        if isPinned { return true }
        return try GuardAttachment.hasFilters(interface: end.interface)
    }

    private func attach(
        to end: HostEnd, of uid: String, by means: GuardAttachment.Means,
        _ body: (GuardAttachment, _ program: Int32, _ path: String) throws(RedirectionError) -> Void
    ) throws(RedirectionError) -> [GuardAttachment] {
        var attached: [GuardAttachment] = []
        for direction in GuardAttachment.Direction.allCases {
            let guarding = GuardAttachment(interface: end.interface, direction: direction, means: means)
            let path = path(guarding.name, ofPod: uid)
            try held.restore(path)
            try body(guarding, try object.program(Self.programName(mode, direction)), path)
            try held.keep(path)
            attached.append(guarding)
        }
        return attached
    }

    static func programName(_ mode: Mode, _ direction: GuardAttachment.Direction) -> String {
        (mode == .enforce ? "guard_" : "audit_") + direction.text + "_pod"
    }

    private func path(_ name: String, ofPod uid: String) -> String { pins.directory(ofPod: uid) + "/" + name }

    /// Leaves no trace of the pod's guard, also when its namespace is gone. Unknown uids are ignored.
    public func detach(pod uid: String) throws(RedirectionError) {
        try host.entered { () throws(RedirectionError) in
            for name in pins.pins(ofPod: uid) { try remove(name, ofPod: uid) }
        }
        held.drop(directory: pins.directory(ofPod: uid))
        try pins.removeDirectory(ofPod: uid)
    }

    private func remove(_ name: String, ofPod uid: String) throws(RedirectionError) {
        guard let guarding = GuardAttachment(name: name) else { return }
        try guarding.detach(pin: path(name, ofPod: uid))
        try setAddresses([], of: guarding.interface)
        try policies.remove(guarding.interface)
        for key in try counts.keys(blank: culvert_guard_key()) where key.interface == guarding.interface {
            try counts.remove(key)
        }
    }

    /// Those with a guard, whole or not.
    public var pods: [String] {
        pins.podsPresent().filter { uid in pins.pins(ofPod: uid).contains { GuardAttachment(name: $0) != nil } }
    }

    /// What is missing of the pod's guard, or is not as it should be; `attach` mends it.
    public func missing(of uid: String, in namespace: NetworkNamespace) throws(RedirectionError) -> [String] {
        try parts(of: uid, in: namespace).missing
    }

    /// Compares the pod's guard with the kernel's state.
    public func state(of uid: String, in namespace: NetworkNamespace) throws(RedirectionError) -> RedirectionState {
        RedirectionState(try parts(of: uid, in: namespace), isAnythingThere: pods.contains(uid))
    }

    private func parts(of uid: String, in namespace: NetworkNamespace) throws(RedirectionError) -> [CapturePart] {
        try PodGuard.inspect(
            pod: uid, in: namespace, host: host, directory: directory, mode: mode,
            plan: installed.withLock { $0[uid] }
        ).parts
    }

    // MARK: - Addresses

    /// The enrolled addresses of the whole cluster, in place of those published before. New ones are added first.
    ///
    /// E2BIG when there are more than the kernel's table has room for: those left out are not guarded.
    public func publish(_ addresses: Set<IPAddress>) throws(RedirectionError) {
        try updating.withLock { (_) throws(RedirectionError) in
            for address in addresses { try change(culvert_address(address)) { $0.is_published = 1 } }
            for key in try enrolled.keys(blank: culvert_address()) where !addresses.contains(IPAddress(key)) {
                try change(key) { $0.is_published = 0 }
            }
        }
    }

    /// Changes single ones, at a cost that does not depend on how many there are.
    public func publish(adding: Set<IPAddress>, removing: Set<IPAddress>) throws(RedirectionError) {
        try updating.withLock { (_) throws(RedirectionError) in
            for address in adding { try change(culvert_address(address)) { $0.is_published = 1 } }
            for address in removing { try change(culvert_address(address)) { $0.is_published = 0 } }
        }
    }

    private func setAddresses(_ addresses: Set<IPAddress>, of interface: UInt32) throws(RedirectionError) {
        try updating.withLock { (_) throws(RedirectionError) in
            for address in addresses { try change(culvert_address(address)) { $0.interface = interface } }
            for key in try enrolled.keys(blank: culvert_address()) where !addresses.contains(IPAddress(key)) {
                try change(key) { if $0.interface == interface { $0.interface = 0 } }
            }
        }
    }

    private func change(
        _ key: culvert_address, _ body: (inout culvert_enrolled) -> Void
    ) throws(RedirectionError) {
        let before = try enrolled.value(of: key, blank: culvert_enrolled())
        var value = before ?? culvert_enrolled()
        body(&value)
        if value.is_published == 0 && value.interface == 0 {
            if before != nil { try enrolled.remove(key) }
        } else if before?.is_published != value.is_published || before?.interface != value.interface {
            try enrolled.set(key, value)
        }
    }

    /// As the kernel has them.
    public func enrolledAddresses() throws(RedirectionError) -> Set<IPAddress> {
        Set(try enrolled.keys(blank: culvert_address()).map { IPAddress($0) })
    }

    // MARK: - The kubelet

    /// From now on connections of sockets that are made in this cgroup, and in none below it, reach the applications of probed pods;
    /// nil for nobody's.
    ///
    /// Throws `noCgroups` for a cgroup that is not the kubelet's alone.
    public func trust(kubelet cgroup: String?) throws(RedirectionError) {
        // What cannot be looked at is trusted no more.
        let identifier = try cgroup.map { (path) throws(RedirectionError) in
            Result { () throws(RedirectionError) in try Kubelet.identifier(of: path) }
        }
        try kubelet.set(0, (try? identifier?.get()) ?? 0)
        _ = try identifier?.get()
    }

    /// From now on no packet with this source leaves a guarded pod: the node gives it to the kubelet's connections; nil for none.
    public func reserve(_ source: ProbeSource?) throws(RedirectionError) {
        try sources.set(0, source.map { culvert_address($0.v4) } ?? culvert_address())
        try sources.set(1, source.map { culvert_address($0.v6) } ?? culvert_address())
    }

    /// Since the maps were made.
    public func probeCounts() throws(RedirectionError) -> ProbeCounts {
        func count(_ what: culvert_probe_count) throws(RedirectionError) -> UInt64 {
            try probes.value(of: UInt32(what.rawValue), blank: 0) ?? 0
        }
        return ProbeCounts(noted: try count(CULVERT_PROBE_NOTED), passed: try count(CULVERT_PROBE_PASSED))
    }

    // MARK: - What was refused

    /// Only what is not zero, in a fixed order.
    public func counts(of uid: String) throws(RedirectionError) -> [GuardCount] {
        try Self.counts(of: pins.pins(ofPod: uid), in: counts)
    }

    /// Samples of what was refused since the last call: of each pod, direction and reason at most one a second.
    public func takeEvents() throws(RedirectionError) -> [GuardEvent] {
        let taken = try events.take()
        guard !taken.isEmpty else { return [] }
        var owners: [UInt32: String] = [:]
        for uid in pods {
            for name in pins.pins(ofPod: uid) {
                if let guarding = GuardAttachment(name: name) { owners[guarding.interface] = uid }
            }
        }
        return taken.compactMap { GuardEvent($0, pod: owners[$0.key.interface]) }
    }

    // MARK: -

    /// Removes maps and directories, when no pod has a guard any more. This object is of no use afterwards.
    public func removeIfUnused() { pins.removeIfUnused(maps: PodGuard.maps) }
}

/// The kernel's samples, in the order they were taken.
private final class GuardEventRing: @unchecked Sendable {
    private final class Batch {
        var events: [culvert_guard_event] = []
    }

    private let lock = Mutex(())
    private let batch: Batch
    private let ring: OpaquePointer

    init(map: Int32) throws(RedirectionError) {
        let batch = Batch()
        var code: Int32 = 0
        let opened = cbpf_ring_open(
            map, Unmanaged.passUnretained(batch).toOpaque(),
            { context, bytes, count in
                guard let context, let bytes, count >= MemoryLayout<culvert_guard_event>.size else { return 0 }
                Unmanaged<Batch>.fromOpaque(context).takeUnretainedValue().events
                    .append(bytes.loadUnaligned(as: culvert_guard_event.self))
                return 0
            }, &code)
        guard let opened else { throw .kernel(Errno(code: -code, call: "open the guard's events")) }
        ring = opened
        self.batch = batch
    }

    deinit { cbpf_ring_close(ring) }

    func take() throws(RedirectionError) -> [culvert_guard_event] {
        try lock.withLock { (_) throws(RedirectionError) in
            try kernel(cbpf_ring_consume(ring), "read the guard's events")
            defer { batch.events.removeAll() }
            return batch.events
        }
    }
}
