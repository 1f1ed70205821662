import BPFPrograms
import CLibBPF
import Glibc
import IPAddressing
import LinuxNetworking

/// Captures connections where they are made, at the socket (the `ebpf` backend): no address is rewritten, nothing is tracked, and what
/// an application sees of its connections is true.
///
/// Connect hooks, once on a node, mark the sockets of captured pods, so that the pod's own policy route leads them to loopback; a
/// lookup program in each pod chooses the proxy's listener. Links and maps are pinned: they outlive the agent, and the next one puts
/// its programs in place of the old ones. Without a listener every connection is refused.
public final class SocketCapture: Sendable {
    static let maps = ["captured", "captured_policies", "proxies"]
    static let hooks: [(pin: String, program: String, type: Int32)] = [
        ("connect4", "capture_connect4", 10), ("connect6", "capture_connect6", 11),
    ]
    static let lookup = "lookup"
    static let listeners = "listeners"
    static let ownAddresses = "own_addresses"
    static let policy = "policy"
    static let podPins = [lookup, listeners, ownAddresses, policy]
    /// BPF_SK_LOOKUP.
    private static let lookupType: Int32 = 36

    private let root: String
    private let pins: PinDirectory
    private let held = HeldPins()
    private let object: BPFObject
    private let captured: BPFMap<UInt64, culvert_captured>
    private let policies: BPFMap<UInt64, culvert_policy>
    let proxies: ProxyCgroups

    /// Loads the programs and puts them on the root of the cgroups. Connections of the proxy, which is known by `recognition`, are not
    /// captured.
    ///
    /// Throws `libraryMissing`, `programRefused`, or `noCgroups` on a machine without the unified hierarchy.
    public init(
        directory: String = PodGuard.standardDirectory, proxy recognition: ProxyRecognition
    ) throws(RedirectionError) {
        root = try Cgroup.root()
        pins = try PinDirectory(directory)
        object = try BPFObject(.connect, pins: pins.path)
        captured = try object.map("captured", UInt64.self, culvert_captured.self)
        policies = try object.map("captured_policies", UInt64.self, culvert_policy.self)
        proxies = try ProxyCgroups(recognition, root: root, map: object.map("proxies", UInt64.self, UInt32.self))
        for map in Self.maps { try held.keep(pins.path + "/" + map) }
        try attachHooks()
    }

    private func attachHooks() throws(RedirectionError) {
        let target = try Cgroup.open(root)
        for hook in Self.hooks {
            try attach(
                try object.program(hook.program), to: target.raw, type: hook.type, pin: pins.path + "/" + hook.pin)
        }
    }

    /// Puts the program in the place of the one that is pinned there, or there for the first time.
    private func attach(_ program: Int32, to target: Int32, type: Int32, pin: String) throws(RedirectionError) {
        try held.restore(pin)
        if try !replace(program, pin: pin) {
            try BPFLink(program: program, target: target, type: type).pin(pin)
        }
        try held.keep(pin)
    }

    /// False when nothing is there any more.
    private func replace(_ program: Int32, pin: String) throws(RedirectionError) -> Bool {
        guard let link = try BPFLink.open(pin: pin) else { return false }
        do throws(RedirectionError) {
            try link.replace(program: program)
            return true
        } catch .kernel(let error) where error.code == ENOLINK {
            // Somebody has detached it, or what it was attached to is gone.
            try PinDirectory.unpin(pin)
            return false
        }
    }

    // MARK: - Pods

    /// From now on the pod's connections go to the proxy, both ways, or are refused. The pod's routes are there already.
    ///
    /// For a pod that is captured already, renews programs, addresses and policy in place.
    func capture(
        pod uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan
    ) throws(RedirectionError) {
        let policy = try culvert_policy(plan)
        try pins.makeDirectory(ofPod: uid)
        let shared = PinDirectory.nodeMaps.map { pins.path + "/" + $0 }
        for map in Self.maps.map({ pins.path + "/" + $0 }) + shared { try held.restore(map) }
        if try Self.hookParts(pins).contains(where: { !$0.isPresent }) { try attachHooks() }
        let directory = pins.directory(ofPod: uid)
        let maps = [Self.listeners, Self.ownAddresses, Self.policy].map { directory + "/" + $0 }
        // The proxy's listeners are in one of them.
        for map in maps { try held.restore(map) }
        let program = try BPFObject(.lookup, pins: directory, nodePins: pins.path)
        let own = try setAddresses(
            of: namespace, in: try program.map(Self.ownAddresses, culvert_address.self, UInt32.self))
        try program.map(Self.policy, UInt32.self, culvert_policy.self).set(0, policy)
        try attach(
            try program.program("choose_listener"), to: namespace.descriptor, type: Self.lookupType,
            pin: directory + "/" + Self.lookup)
        var entry = culvert_captured()
        entry.pod = Self.digest(uid)
        let first = own.prefix(Int(CULVERT_OWN_ADDRESSES)).flatMap(\.mappedBytes)
        withUnsafeMutableBytes(of: &entry.own) { $0.copyBytes(from: first) }
        let cookie = try Self.cookie(of: namespace)
        try policies.set(cookie, policy)
        try proxies.restore()
        try captured.set(cookie, entry)
        for map in maps + shared where access(map, F_OK) == 0 { try held.keep(map) }
    }

    private func setAddresses(
        of namespace: NetworkNamespace, in map: BPFMap<culvert_address, UInt32>
    ) throws(RedirectionError) -> [IPAddress] {
        let addresses = try Self.addresses(in: namespace)
        for address in addresses { try map.set(culvert_address(address), 1) }
        for key in try map.keys(blank: culvert_address()) where !addresses.contains(IPAddress(key)) {
            try map.remove(key)
        }
        return addresses
    }

    static func cookie(of namespace: NetworkNamespace) throws(RedirectionError) -> UInt64 {
        try namespace.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in try NetworkNamespace.cookie() }
        }
    }

    /// FNV-1a: of some hundred pods on a node no two are expected to have the same.
    static func digest(_ uid: String) -> UInt64 {
        uid.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
    }

    /// Where the proxy puts its listeners in a pod, once the pod is captured.
    public static func listenerMap(ofPod uid: String, directory: String = PodGuard.standardDirectory) -> String {
        PinDirectory(unchecked: directory).directory(ofPod: uid) + "/" + listeners
    }

    /// Whether anything is pinned of a pod's capture.
    static func isCaptured(pod uid: String, directory: String) -> Bool {
        guard let pins = PinDirectory(existing: directory) else { return false }
        return pins.pins(ofPod: uid).contains { podPins.contains($0) }
    }

    enum Direction {
        case outbound, inbound
    }

    /// Leaves no trace of a pod's capture, also when its namespace is gone. Needs no program: an agent of the other backend may do it.
    static func release(pod uid: String, directory: String) throws(RedirectionError) {
        try release(.outbound, pod: uid, directory: directory)
        try release(.inbound, pod: uid, directory: directory)
    }

    /// What is connected stays so. Of the pins, all go with the last direction.
    static func release(_ direction: Direction, pod uid: String, directory: String) throws(RedirectionError) {
        guard let pins = PinDirectory(existing: directory) else { return }
        switch direction {
        case .outbound: try releaseConnects(uid, pins)
        case .inbound:
            let own = pins.directory(ofPod: uid)
            try BPFLink.remove(pin: own + "/" + lookup)
            for name in podPins { try PinDirectory.unpin(own + "/" + name) }
            try pins.removeDirectory(ofPod: uid)
        }
    }

    private static func releaseConnects(_ uid: String, _ pins: PinDirectory) throws(RedirectionError) {
        _ = try withPinnedMap(pins.path + "/captured", UInt64.self, culvert_captured.self) {
            (captured) throws(RedirectionError) in
            for key in try captured.keys(blank: 0)
            where try captured.value(of: key, blank: culvert_captured())?.pod == digest(uid) {
                // The entry goes last: by it a policy is found.
                try removePolicy(of: key, pins.path)
                try captured.remove(key)
            }
        }
    }

    private static func removePolicy(of cookie: UInt64, _ directory: String) throws(RedirectionError) {
        _ = try withPinnedMap(directory + "/captured_policies", UInt64.self, culvert_policy.self) {
            (map) throws(RedirectionError) in try map.remove(cookie)
        }
    }

    /// Why a process is not the proxy whose connections are not captured; nil when it is.
    public func obstacle(toProxy pid: Int32) -> String? {
        do throws(RedirectionError) {
            return try proxies.obstacle(to: pid)
        } catch {
            return "the cgroup of the proxy, process \(pid), cannot be told: \(error)"
        }
    }

    /// Together with `release`: keeps nothing of a pod, and leaves nothing of it in the kernel whose pins were lost.
    public func forget(pod uid: String) throws(RedirectionError) {
        held.drop(directory: pins.directory(ofPod: uid))
        for key in try captured.keys(blank: 0)
        where try captured.value(of: key, blank: culvert_captured())?.pod == Self.digest(uid) {
            try captured.remove(key)
            try policies.remove(key)
        }
    }

    /// Detaches the hooks and removes what is pinned, when no pod is captured any more.
    public func removeIfUnused() throws(RedirectionError) {
        guard try captured.keys(blank: 0).isEmpty else { return }
        for hook in Self.hooks { try BPFLink.remove(pin: pins.path + "/" + hook.pin) }
        held.drop(directory: pins.path)
        pins.removeIfUnused(maps: Self.maps + PinDirectory.nodeMaps)
    }
}
