import CLibBPF
import Glibc
import LinuxNetworking

/// What holds a program to where it runs; pinned, it outlives every process.
struct BPFLink: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// The first program on an interface of the calling thread's network namespace. `type` is BPF_TCX_*.
    init(program: Int32, interface: UInt32, type: Int32) throws(RedirectionError) {
        descriptor = OwnedDescriptor(
            adopting: try kernel(
                cbpf_attach_interface(program, interface, type), "attach a program to interface \(interface)"))
    }

    /// On a cgroup or a network namespace, an open descriptor. `type` is BPF_*.
    init(program: Int32, target: Int32, type: Int32) throws(RedirectionError) {
        descriptor = OwnedDescriptor(adopting: try kernel(cbpf_attach(program, target, type), "attach a program"))
    }

    /// Puts the program on an interface, in place of an older one that is pinned there if there is one. Unpinned, it would go with the
    /// process that made it. EINVAL from a kernel without tcx.
    static func put(program: Int32, interface: UInt32, type: Int32, pin path: String) throws(RedirectionError) {
        if let link = try open(pin: path) {
            if try link.isOn(interface, type: type) { return try link.replace(program: program) }
            try PinDirectory.unpin(path)
        }
        try BPFLink(program: program, interface: interface, type: type).pin(path)
    }

    /// Detaches what is pinned there, if anything is, and removes the pin.
    static func remove(pin path: String) throws(RedirectionError) {
        try open(pin: path)?.detach()
        try PinDirectory.unpin(path)
    }

    private init(adopting descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// nil when nothing is pinned there.
    static func open(pin path: String) throws(RedirectionError) -> BPFLink? {
        let result = cbpf_open_pin(path)
        if result == -ENOENT { return nil }
        return BPFLink(adopting: OwnedDescriptor(adopting: try kernel(result, "open \(path)")))
    }

    func pin(_ path: String) throws(RedirectionError) { try kernel(cbpf_pin(descriptor.raw, path), "pin \(path)") }

    func description() throws(RedirectionError) -> cbpf_link_info {
        var info = cbpf_link_info()
        try kernel(cbpf_describe_link(descriptor.raw, &info), "look at a link")
        return info
    }

    /// Whether it holds a program of this type to this interface.
    func isOn(_ interface: UInt32, type: Int32) throws(RedirectionError) -> Bool {
        let found = try description()
        return found.target == interface && found.attach_type == UInt32(type)
    }

    /// In place: nothing passes unseen.
    func replace(program: Int32) throws(RedirectionError) {
        try kernel(cbpf_replace_program(descriptor.raw, program), "replace a link's program")
    }

    /// For a pin of whatever kind: false when there is nothing to detach.
    func detachIfLink() -> Bool { cbpf_detach(descriptor.raw) == 0 }

    /// At once, whoever else holds it. One whose interface has gone is detached already.
    func detach() throws(RedirectionError) {
        let result = cbpf_detach(descriptor.raw)
        if result != -ENOLINK { try kernel(result, "detach a link") }
    }
}

/// A program as the kernel names it.
struct LoadedProgram: Equatable {
    let id: UInt32
    /// Cut to 15 bytes.
    let name: String

    init(descriptor: Int32) throws(RedirectionError) {
        var id: UInt32 = 0
        var text = [CChar](repeating: 0, count: 16)
        try kernel(cbpf_describe_program(descriptor, &id, &text), "look at a program")
        self.id = id
        name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    init(id: UInt32) throws(RedirectionError) {
        let descriptor = OwnedDescriptor(adopting: try kernel(cbpf_open_program(id), "open program \(id)"))
        try self.init(descriptor: descriptor.raw)
    }
}
