import CLibBPF
import Glibc
import LinuxNetworking
import Synchronization

/// What this process has pinned, kept open besides: when somebody removes a pin, or unmounts the file system with all of them, nothing
/// is detached, and what was pinned is pinned again.
final class HeldPins: Sendable {
    /// Owned.
    private let descriptors = Mutex<[String: Int32]>([:])

    deinit { for descriptor in descriptors.withLock(\.values) { close(descriptor) } }

    /// Keeps what is pinned there now, in place of what was before.
    func keep(_ path: String) throws(RedirectionError) {
        let descriptor = try kernel(cbpf_open_pin(path), "open \(path)")
        if let old = descriptors.withLock({ $0.updateValue(descriptor, forKey: path) }) { close(old) }
    }

    /// Pins it again, if it was kept and nothing is there.
    func restore(_ path: String) throws(RedirectionError) {
        guard access(path, F_OK) != 0, let descriptor = descriptors.withLock({ $0[path] }) else { return }
        try kernel(cbpf_pin(descriptor, path), "pin \(path) again")
    }

    /// Nothing of a directory is kept any more. Links whose pins somebody has removed are detached, as nobody else could.
    func drop(directory: String) {
        let dropped = descriptors.withLock { descriptors in
            let paths = descriptors.keys.filter { $0.hasPrefix(directory + "/") }
            return paths.compactMap { descriptors.removeValue(forKey: $0) }
        }
        for descriptor in dropped {
            // Maps refuse it; and links that are detached.
            _ = cbpf_detach(descriptor)
            close(descriptor)
        }
    }
}
