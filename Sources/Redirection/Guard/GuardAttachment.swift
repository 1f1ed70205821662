import CLibBPF
import Glibc
import LinuxNetworking

/// One of a pod's guards: on one interface of the host, in one direction, and what keeps it there. To be used by a thread that is in
/// the host's namespace.
struct GuardAttachment: Hashable {
    enum Direction: UInt16, CaseIterable {
        case fromPod = 0
        case toPod = 1

        var text: String { self == .fromPod ? "from" : "to" }
        /// BPF_TCX_INGRESS, BPF_TCX_EGRESS: as the host sees it.
        var linkType: Int32 { self == .fromPod ? 46 : 47 }
    }

    enum Means: String {
        /// A link, pinned. Its place before all others is sure.
        case tcx
        /// A filter of the traffic control; nothing is needed to keep it, so what is pinned is the program, for the record.
        case filter
    }

    let interface: UInt32
    let direction: Direction
    let means: Means

    /// Of the pin, in the pod's directory.
    var name: String { "\(means.rawValue)-\(interface)-\(direction.text)" }

    init(interface: UInt32, direction: Direction, means: Means) {
        self.interface = interface
        self.direction = direction
        self.means = means
    }

    /// nil for a name that is not a guard's.
    init?(name: String) {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let means = Means(rawValue: String(parts[0])), let interface = UInt32(parts[1]),
            let direction = Direction.allCases.first(where: { $0.text == parts[2] })
        else { return nil }
        self.init(interface: interface, direction: direction, means: means)
    }

    // MARK: - tcx

    /// Puts the program there, in place of an older one if there is one. EINVAL from a kernel without tcx.
    func attachLink(_ program: Int32, pin path: String) throws(RedirectionError) {
        try BPFLink.put(program: program, interface: interface, type: direction.linkType, pin: path)
    }

    // MARK: - Filters

    /// In front of the usual places. The handle tells whether the hook was made for it.
    private static let priority: UInt32 = 1
    private static let handle: UInt32 = 0x15008
    private static let handleWithHook: UInt32 = 0x15009

    private func filter(_ handle: UInt32) -> cbpf_filter {
        cbpf_filter(
            interface: interface, egress: direction == .toPod ? 1 : 0, handle: handle,
            priority: GuardAttachment.priority, program: 0)
    }

    /// The one that is there; its handle and program are as found.
    private func foundFilter() throws(RedirectionError) -> cbpf_filter? {
        for handle in [GuardAttachment.handle, GuardAttachment.handleWithHook] {
            var filter = filter(handle)
            let result = cbpf_filter_query(&filter)
            // ENOENT without the filter; EINVAL without the hook; ENODEV without the interface.
            if [-ENOENT, -EINVAL, -ENODEV].contains(result) { continue }
            try kernel(result, "look for a filter on interface \(interface)")
            return filter
        }
        return nil
    }

    /// Whether a guard is on the interface as a filter, in either direction.
    static func hasFilters(interface: UInt32) throws(RedirectionError) -> Bool {
        for direction in Direction.allCases {
            let guarding = GuardAttachment(interface: interface, direction: direction, means: .filter)
            if try guarding.foundFilter() != nil { return true }
        }
        return false
    }

    static func removeFilters(interface: UInt32) throws(RedirectionError) {
        for direction in Direction.allCases {
            try GuardAttachment(interface: interface, direction: direction, means: .filter).detachFilter()
        }
    }

    /// `isHookOurs` once one of the two directions has made it.
    func attachFilter(_ program: Int32, pin path: String, isHookOurs: Bool) throws(RedirectionError) {
        if access(path, F_OK) != 0 { try kernel(cbpf_pin(program, path), "pin \(path)") }
        let found = try foundFilter()
        var wanted = found ?? filter(isHookOurs ? GuardAttachment.handleWithHook : GuardAttachment.handle)
        wanted.program = 0
        try kernel(cbpf_filter_attach(&wanted, program), "add a filter to interface \(interface)")
    }

    static func makeHook(_ interface: UInt32) throws(RedirectionError) -> Bool {
        try kernel(cbpf_make_hook(interface), "make a hook on interface \(interface)") == 1
    }

    private func detachFilter() throws(RedirectionError) {
        guard var found = try foundFilter() else { return }
        let madeHook = found.handle == GuardAttachment.handleWithHook
        found.program = 0
        try kernel(cbpf_filter_detach(&found), "remove a filter from interface \(interface)")
        // Somebody else may have put filters into it meanwhile.
        let isEmpty = try kernelCall { () throws(Errno) in try RouteSocket().filterCount(link: interface) == 0 }
        if madeHook && isEmpty { try kernel(cbpf_remove_hook(interface), "remove the hook of interface \(interface)") }
    }

    // MARK: - Both

    /// The program that runs there; nil when none does.
    func program(pin path: String) throws(RedirectionError) -> LoadedProgram? {
        switch means {
        case .tcx:
            guard let link = try BPFLink.open(pin: path), try link.isOn(interface, type: direction.linkType) else {
                return nil
            }
            return try LoadedProgram(id: link.description().program)
        case .filter:
            guard let found = try foundFilter() else { return nil }
            return try LoadedProgram(id: found.program)
        }
    }

    /// Nothing of it is left, in whatever state it was.
    func detach(pin path: String) throws(RedirectionError) {
        switch means {
        case .tcx: try BPFLink.open(pin: path)?.detach()
        case .filter: try detachFilter()
        }
        try PinDirectory.unpin(path)
    }
}
