import BPFPrograms
import CLibBPF
import Glibc
import LinuxNetworking

/// A compiled object's programs and maps, in the kernel as long as this lives; longer what is pinned or attached.
final class BPFObject: @unchecked Sendable {
    private static let logBytes = 64 << 10

    private let name: String
    /// Not changed after `init`.
    private let object: OpaquePointer

    /// Maps are those pinned in `pins` under their names, and are pinned there where there are none; the node's, which have that in
    /// their names, in `nodePins` if that is another directory.
    ///
    /// Throws `programRefused` with the verifier's words; so does a map in `pins` of another shape.
    init(_ program: BPFProgram, pins: String?, nodePins: String? = nil) throws(RedirectionError) {
        var log = [CChar](repeating: 0, count: BPFObject.logBytes)
        var code: Int32 = 0
        let loaded = program.withBytes { bytes in
            cbpf_load(bytes.baseAddress, bytes.count, program.name, pins, nodePins ?? pins, &log, log.count, &code)
        }
        guard let loaded else {
            if code == -ELIBACC { throw .libraryMissing }
            let text = String(decoding: log.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw .programRefused(
                name: program.name, reason: Errno(code: -code, call: "load the \(program.name) programs"),
                log: oneLine(text))
        }
        name = program.name
        object = loaded
    }

    deinit { cbpf_unload(object) }

    /// Open as long as this object lives.
    func program(_ name: String) throws(RedirectionError) -> Int32 {
        try kernel(cbpf_program(object, name), "find program \(name)")
    }

    func map<Key, Value>(_ name: String, _ key: Key.Type, _ value: Value.Type) throws(RedirectionError)
        -> BPFMap<Key, Value>
    {
        BPFMap(descriptor: try kernel(cbpf_map(object, name), "find map \(name)"), name: name)
    }

    /// The descriptor of a map without keys.
    func map(_ name: String) throws(RedirectionError) -> Int32 {
        try kernel(cbpf_map(object, name), "find map \(name)")
    }
}

/// A hash table in the kernel. The descriptor is somebody else's.
struct BPFMap<Key: BitwiseCopyable & Sendable, Value: BitwiseCopyable & Sendable>: Sendable {
    let descriptor: Int32
    let name: String

    /// nil when there is no such key. `blank` is overwritten.
    func value(of key: Key, blank: Value) throws(RedirectionError) -> Value? {
        var value = blank
        let result = withUnsafeBytes(of: key) { key in
            withUnsafeMutableBytes(of: &value) { cbpf_map_lookup(descriptor, key.baseAddress, $0.baseAddress) }
        }
        if result == -ENOENT { return nil }
        try kernel(result, "look up in map \(name)")
        return value
    }

    /// E2BIG when there is no room for another key.
    func set(_ key: Key, _ value: Value) throws(RedirectionError) {
        let result = withUnsafeBytes(of: key) { key in
            withUnsafeBytes(of: value) { cbpf_map_update(descriptor, key.baseAddress, $0.baseAddress) }
        }
        try kernel(result, "write to map \(name)")
    }

    /// Nothing happens when there is no such key.
    func remove(_ key: Key) throws(RedirectionError) {
        let result = withUnsafeBytes(of: key) { cbpf_map_delete(descriptor, $0.baseAddress) }
        if result != -ENOENT { try kernel(result, "remove from map \(name)") }
    }

    /// All of them, if nobody else removes any meanwhile. `blank` is overwritten.
    func keys(blank: Key) throws(RedirectionError) -> [Key] {
        var keys: [Key] = []
        var next = blank
        while true {
            let result = withUnsafeMutableBytes(of: &next) { next in
                keys.last.map { last in
                    withUnsafeBytes(of: last) { cbpf_map_next_key(descriptor, $0.baseAddress, next.baseAddress) }
                } ?? cbpf_map_next_key(descriptor, nil, next.baseAddress)
            }
            if result == -ENOENT { return keys }
            try kernel(result, "read keys of map \(name)")
            keys.append(next)
        }
    }
}

/// Looks at a table that is pinned; nil when nothing is pinned there.
func withPinnedMap<Key, Value, R>(
    _ path: String, _ key: Key.Type, _ value: Value.Type, _ body: (BPFMap<Key, Value>) throws(RedirectionError) -> R
) throws(RedirectionError) -> R? {
    let result = cbpf_open_pin(path)
    if result == -ENOENT { return nil }
    let map = OwnedDescriptor(adopting: try kernel(result, "open \(path)"))
    return try body(BPFMap(descriptor: map.raw, name: path))
}

/// The result of a CLibBPF call, unless it is a negated errno.
@discardableResult
func kernel(_ result: Int32, _ call: @autoclosure () -> String) throws(RedirectionError) -> Int32 {
    guard result >= 0 else {
        if result == -ELIBACC { throw .libraryMissing }
        throw .kernel(Errno(code: -result, call: call()))
    }
    return result
}

/// What another program said, for one line of a log.
func oneLine(_ text: String) -> String {
    String(text.prefix(1000).split(whereSeparator: \.isNewline).joined(separator: " | "))
}
