import Glibc

/// The links, programs and maps of the kernel that are pinned below a directory, by number; and whether they are still there when the
/// pins are not.
public struct PinnedObjects: Hashable, Sendable {
    private struct Object: Hashable {
        /// As the kernel calls it: `bpf-link`, `bpf-prog` or `bpf-map`.
        let kind: String
        let number: UInt32
    }

    private let objects: Set<Object>

    public var isEmpty: Bool { objects.isEmpty }

    public init(below directory: String) {
        let paths = TestNetwork.shell("find \(directory) -type f 2>/dev/null").split(separator: "\n")
        objects = Set(paths.compactMap { PinnedObjects.object(String($0)) })
    }

    /// Those that the kernel still has, for a failing test to print.
    public var alive: [String] {
        objects.filter { object in
            let call = ["bpf-link": "link", "bpf-prog": "prog", "bpf-map": "map"][object.kind] ?? ""
            guard let open: @convention(c) (UInt32) -> Int32 = libbpf("bpf_\(call)_get_fd_by_id") else { return true }
            let descriptor = open(object.number)
            if descriptor >= 0 { close(descriptor) }
            return descriptor >= 0
        }.map { "\($0.kind) \($0.number)" }.sorted()
    }

    private static func object(_ path: String) -> Object? {
        typealias Describe = @convention(c) (Int32, UnsafeMutableRawPointer, UnsafeMutablePointer<UInt32>) -> Int32
        guard let open: @convention(c) (UnsafePointer<CChar>) -> Int32 = libbpf("bpf_obj_get"),
            let describe: Describe = libbpf("bpf_obj_get_info_by_fd")
        else { return nil }
        let descriptor = path.withCString { open($0) }
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var target = [CChar](repeating: 0, count: 64)
        readlink("/proc/self/fd/\(descriptor)", &target, 63)
        let kind = String(decoding: target.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // All three descriptions begin with a type and a number.
        var (information, length) = ([UInt32](repeating: 0, count: 64), UInt32(256))
        guard describe(descriptor, &information, &length) == 0 else { return nil }
        return Object(kind: String(kind.drop { $0 != ":" }.dropFirst()), number: information[1])
    }
}

private func libbpf<Function>(_ name: String) -> Function? {
    guard let library = dlopen("libbpf.so.1", RTLD_NOW), let symbol = dlsym(library, name) else { return nil }
    return unsafeBitCast(symbol, to: Function.self)
}
