import Glibc
import LinuxNetworking

extension Errno {
    /// The other side went away: ordinary for TCP, and not an error of the proxy's.
    var isDisconnect: Bool { code == ECONNRESET || code == EPIPE || code == ENOTCONN || code == ECONNABORTED }
}
