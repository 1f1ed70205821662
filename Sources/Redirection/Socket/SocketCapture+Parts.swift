import CLibBPF
import Glibc
import IPAddressing
import LinuxNetworking

extension SocketCapture {
    /// What there is of a pod's capture, read from the pins and the kernel alone: no agent has to be there.
    ///
    /// `proxyCgroup` is whose connections are not to be captured, where that is known beforehand; `plan` says what else is not, and
    /// without them any will do.
    static func parts(
        ofPod uid: String, in namespace: NetworkNamespace, directory: String, proxyCgroup: UInt64?,
        plan: RedirectionPlan?
    ) throws(RedirectionError) -> [CapturePart] {
        let pins = PinDirectory(unchecked: directory)
        let own = pins.directory(ofPod: uid)
        var isLookedUp = false
        if let link = try BPFLink.open(pin: own + "/" + lookup)?.description(),
            link.target == UInt32(truncatingIfNeeded: namespace.inode)
        {
            isLookedUp = try LoadedProgram(id: link.program).name == "choose_listener"
        }
        let addresses = try addresses(in: namespace)
        let cookie = try cookie(of: namespace)
        let entry = try withPinnedMap(pins.path + "/captured", UInt64.self, culvert_captured.self) {
            (map) throws(RedirectionError) in try map.value(of: cookie, blank: culvert_captured())
        }
        let known = try withPinnedMap(own + "/" + ownAddresses, culvert_address.self, UInt32.self) {
            (map) throws(RedirectionError) in Set(try map.keys(blank: culvert_address()).map { IPAddress($0) })
        }
        let atConnect = try withPinnedMap(pins.path + "/captured_policies", UInt64.self, culvert_policy.self) {
            (map) throws(RedirectionError) in try map.value(of: cookie, blank: culvert_policy())
        }
        let atLookup = try withPinnedMap(own + "/" + policy, UInt32.self, culvert_policy.self) {
            (map) throws(RedirectionError) in try map.value(of: 0, blank: culvert_policy())
        }
        let isExempt =
            try proxyCgroup.map { (cgroup) throws(RedirectionError) in
                try withPinnedMap(pins.path + "/proxies", UInt64.self, UInt32.self) {
                    (map) throws(RedirectionError) in try map.value(of: cgroup, blank: 0) != nil
                } ?? false
            } ?? true
        return try hookParts(pins) + [
            CapturePart("exemption of the proxy's cgroup", isPresent: isExempt),
            CapturePart("lookup program", isPresent: isLookedUp, isProof: true),
            CapturePart(
                "capture of its connections",
                isPresent: entry.flatMap { $0 }.map { isRight($0, uid, addresses) } ?? false, isProof: true
            ),
            CapturePart("own addresses", isPresent: known == Set(addresses)),
            CapturePart("map of listeners", isPresent: access(own + "/" + listeners, F_OK) == 0),
            CapturePart("exclusions of its connections", isPresent: try atConnect?.isRight(plan) ?? false),
            CapturePart("exclusions of the lookup", isPresent: try atLookup?.isRight(plan) ?? false),
        ]
    }

    private static func isRight(
        _ entry: culvert_captured, _ uid: String, _ addresses: [IPAddress]
    ) -> Bool {
        let own = withUnsafeBytes(of: entry.own) { bytes in
            stride(from: 0, to: bytes.count, by: 16).compactMap { IPAddress(bytes: bytes[$0..<($0 + 16)]) }
        }
        // More than there is room for are found by the lookup program.
        let places = min(addresses.count, own.count)
        return entry.pod == digest(uid) && own.filter(addresses.contains).count == places
    }

    /// The hooks on the root of the cgroups, for all pods of the node.
    static func hookParts(_ pins: PinDirectory) throws(RedirectionError) -> [CapturePart] {
        let root = try Cgroup.identifier(of: Cgroup.root())
        return try hooks.map { (hook) throws(RedirectionError) in
            var isPresent = false
            if let link = try BPFLink.open(pin: pins.path + "/" + hook.pin)?.description(),
                link.target == UInt32(truncatingIfNeeded: root)
            {
                // The kernel knows the first 15 bytes of a name.
                isPresent = hook.program.hasPrefix(try LoadedProgram(id: link.program).name)
            }
            return CapturePart("\(hook.pin) program", isPresent: isPresent)
        }
    }

    /// Those of the proxy's listeners that are in the pod's map, by slot; nil when there is no map.
    static func listenersPresent(ofPod uid: String, directory: String) throws(RedirectionError) -> Set<UInt32>? {
        try withPinnedMap(listenerMap(ofPod: uid, directory: directory), UInt32.self, UInt64.self) {
            (map) throws(RedirectionError) in
            var slots: Set<UInt32> = []
            for slot in 0..<CULVERT_LISTENERS.rawValue where try map.value(of: slot, blank: 0) != nil {
                slots.insert(slot)
            }
            return slots
        }
    }

    static func addresses(in namespace: NetworkNamespace) throws(RedirectionError) -> [IPAddress] {
        try namespace.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                try RouteSocket().addresses().map(\.address).filter { !$0.isLoopback }
            }
        }
    }
}

extension culvert_policy? {
    /// Nothing is as good as one that leaves nothing alone.
    func isRight(_ plan: RedirectionPlan?) throws(RedirectionError) -> Bool {
        guard let plan else { return true }
        return (self ?? culvert_policy()).isSame(as: try culvert_policy(plan))
    }
}
