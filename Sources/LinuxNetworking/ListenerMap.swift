import CLinux
import Glibc

/// A pinned map of sockets (BPF_MAP_TYPE_SOCKMAP), from which a program in the kernel chooses who accepts a connection.
public enum ListenerMap {
    /// Puts a listening socket there, in place of another; it leaves by itself when it is closed.
    ///
    /// False when nothing is pinned at `path`. Needs CAP_BPF and CAP_NET_ADMIN.
    public static func put(_ listener: Int32, at path: String, slot: UInt32) throws(Errno) -> Bool {
        let result = clinux_put_socket(path, slot, listener)
        if result == -ENOENT { return false }
        try checked(result, "put a listener into \(path)")
        return true
    }
}
