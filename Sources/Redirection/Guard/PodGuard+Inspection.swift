import CLibBPF
import Glibc
import IPAddressing
public import LinuxNetworking

/// What there is of a pod's guard.
public struct GuardFindings: Sendable {
    public let parts: [CapturePart]
    /// nil when nothing runs, or not the same on all sides.
    public let mode: PodGuard.Mode?
    /// `tcx` or `clsact`; nil without any.
    public let means: String?
    /// The node's ends of the pod's veths, by index.
    public let interfaces: [UInt32]
}

extension PodGuard {
    /// Reads the pins and the kernel alone: no agent has to be there. Without `mode` or `plan`, any will do.
    public static func inspect(
        pod uid: String, in namespace: NetworkNamespace, host: NetworkNamespace,
        directory: String = standardDirectory, mode: Mode? = nil, plan: RedirectionPlan? = nil
    ) throws(RedirectionError) -> GuardFindings {
        let pins = PinDirectory(unchecked: directory)
        let own = pins.directory(ofPod: uid)
        let pinned = pins.pins(ofPod: uid).compactMap(GuardAttachment.init)
        let ends = try HostEnd.all(of: namespace, in: host)
        var parts: [CapturePart] = []
        var modes: Set<Mode?> = []
        try host.entered { () throws(RedirectionError) in
            for end in ends {
                for direction in GuardAttachment.Direction.allCases {
                    let guarding = pinned.first { $0.interface == end.interface && $0.direction == direction }
                    let name = try guarding?.program(pin: own + "/" + (guarding?.name ?? ""))?.name
                    let found = Mode.allCases.first { programName($0, direction) == name }
                    modes.insert(found)
                    parts.append(
                        CapturePart(
                            "guard \(direction.text) pod on interface \(end.interface)",
                            isPresent: mode.map { $0 == found } ?? (found != nil), isProof: true))
                }
            }
        }
        for end in ends {
            let policy = try withPinnedMap(pins.path + "/guard_policies", UInt32.self, culvert_policy.self) {
                (map) throws(RedirectionError) in try map.value(of: end.interface, blank: culvert_policy())
            }
            parts.append(
                CapturePart("exclusions of the guard", isPresent: try policy?.isRight(plan) ?? false))
        }
        let enrolled = try withPinnedMap(pins.path + "/enrolled", culvert_address.self, culvert_enrolled.self) {
            (map) throws(RedirectionError) in Set(try map.keys(blank: culvert_address()).map { IPAddress($0) })
        }
        for address in try SocketCapture.addresses(in: namespace) {
            let isKnown = enrolled?.contains(address) ?? false
            parts.append(CapturePart("guarded address \(address)", isPresent: isKnown))
        }
        return GuardFindings(
            parts: parts, mode: modes.count == 1 ? modes.first.flatMap { $0 } : nil,
            means: pinned.first.map { $0.means == .tcx ? "tcx" : "clsact" }, interfaces: ends.map(\.interface))
    }

    /// The names of the node's ends of a pod's veths.
    public static func hostInterfaces(
        of namespace: NetworkNamespace, in host: NetworkNamespace
    ) throws(RedirectionError) -> [String] {
        let ends = try HostEnd.all(of: namespace, in: host).map(\.interface)
        return try host.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                try RouteSocket().links().filter { ends.contains($0.index) }.map(\.name)
            }
        }
    }

    /// Those that anything is pinned of, read from the directory alone.
    public static func podsPinned(_ directory: String = standardDirectory) -> [String] {
        PinDirectory(unchecked: directory).podsPresent()
    }

    /// What the guard of a pod has refused, from its pins: no agent has to be there.
    public static func counts(
        ofPod uid: String, directory: String = standardDirectory
    ) throws(RedirectionError) -> [GuardCount] {
        let pins = PinDirectory(unchecked: directory)
        return try withPinnedMap(pins.path + "/guard_counts", culvert_guard_key.self, culvert_guard_count.self) {
            (map) throws(RedirectionError) in try counts(of: pins.pins(ofPod: uid), in: map)
        } ?? []
    }

    static func counts(
        of pins: [String], in counts: BPFMap<culvert_guard_key, culvert_guard_count>
    ) throws(RedirectionError) -> [GuardCount] {
        let interfaces = Set(pins.compactMap { GuardAttachment(name: $0)?.interface })
        var sums: [GuardDirection: [GuardReason: (packets: UInt64, bytes: UInt64)]] = [:]
        for key in try counts.keys(blank: culvert_guard_key()) where interfaces.contains(key.interface) {
            guard let direction = GuardDirection(rawValue: key.direction),
                let reason = GuardReason(rawValue: key.reason),
                let count = try counts.value(of: key, blank: culvert_guard_count())
            else { continue }
            let sum = sums[direction]?[reason] ?? (0, 0)
            sums[direction, default: [:]][reason] = (sum.packets + count.packets, sum.bytes + count.bytes)
        }
        return GuardDirection.allCases.flatMap { direction in
            GuardReason.allCases.compactMap { reason in
                sums[direction]?[reason].map {
                    GuardCount(direction: direction, reason: reason, packets: $0.packets, bytes: $0.bytes)
                }
            }
        }
    }
}
