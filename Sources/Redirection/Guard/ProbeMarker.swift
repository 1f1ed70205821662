import BPFPrograms
import CLibBPF
import Glibc
import LinuxNetworking

/// Marks the kubelet's connections where they enter a pod, for its rules to let them through (the `nft` backend).
///
/// Programs on the pod's own interfaces, pinned with what else is the pod's. They mark what the guard has noted at the other end.
public final class ProbeMarker: Sendable {
    /// BPF_TCX_INGRESS.
    private static let type: Int32 = 46
    private static let prefix = "probe-"

    private let pins: PinDirectory
    private let object: BPFObject

    /// Throws `libraryMissing`, or `programRefused`.
    public init(directory: String = PodGuard.standardDirectory) throws(RedirectionError) {
        pins = try PinDirectory(directory)
        object = try BPFObject(.probe, pins: pins.path)
    }

    /// On every interface of the pod but loopback. EINVAL from a kernel before 6.6.
    func attach(pod uid: String, in namespace: NetworkNamespace) throws(RedirectionError) {
        let directory = pins.directory(ofPod: uid)
        try pins.makeDirectory(ofPod: uid)
        let program = try object.program("mark_probe")
        var kept: Set<String> = []
        for interface in try Self.interfaces(of: namespace) {
            let name = Self.prefix + String(interface)
            let pin = directory + "/" + name
            kept.insert(name)
            try namespace.entered { () throws(RedirectionError) in
                try BPFLink.put(program: program, interface: interface, type: Self.type, pin: pin)
            }
        }
        try Self.remove(pins, uid) { !kept.contains($0) }
    }

    /// Throws EINVAL on a kernel before 6.6, where nothing can be marked. Nothing stays.
    public func selfTest() throws(RedirectionError) {
        let program = try object.program("mark_probe")
        let scratch = try kernelCall { () throws(Errno) in try NetworkNamespace.make() }
        try scratch.entered { () throws(RedirectionError) in
            // Loopback is there in every namespace.
            _ = try BPFLink(program: program, interface: 1, type: Self.type)
        }
    }

    /// What there is of it, read from the pins and the kernel alone.
    static func parts(
        ofPod uid: String, in namespace: NetworkNamespace, directory: String
    ) throws(RedirectionError) -> [CapturePart] {
        let own = PinDirectory(unchecked: directory).directory(ofPod: uid)
        return try interfaces(of: namespace).map { (interface) throws(RedirectionError) in
            let link = try BPFLink.open(pin: own + "/" + prefix + String(interface))?.description()
            return CapturePart("probe program on interface \(interface)", isPresent: link?.target == interface)
        }
    }

    private static func interfaces(of namespace: NetworkNamespace) throws(RedirectionError) -> [UInt32] {
        try namespace.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                try RouteSocket().links().filter { $0.name != "lo" && $0.isUp }.map(\.index)
            }
        }
    }

    /// Leaves no trace, also when the pod's namespace is gone.
    static func release(pod uid: String, directory: String) throws(RedirectionError) {
        guard let pins = PinDirectory(existing: directory) else { return }
        try remove(pins, uid) { _ in true }
        try pins.removeDirectory(ofPod: uid)
    }

    private static func remove(
        _ pins: PinDirectory, _ uid: String, where isMeant: (String) -> Bool
    ) throws(RedirectionError) {
        for name in pins.pins(ofPod: uid) where name.hasPrefix(prefix) && isMeant(name) {
            try BPFLink.remove(pin: pins.directory(ofPod: uid) + "/" + name)
        }
    }

    /// Removes maps and directories, when nobody has a pod any more.
    public func removeIfUnused() { pins.removeIfUnused(maps: PinDirectory.nodeMaps) }
}
