import Glibc
import LinuxNetworking

/// This side of `ParentDeath`: as long as it is open, what was started with `readEnd` lives.
final class ParentPipe {
    let readEnd: OwnedDescriptor
    private let writeEnd: OwnedDescriptor

    init() throws(Errno) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Errno(code: errno, call: "make a pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        readEnd = OwnedDescriptor(adopting: ends[0])
        writeEnd = OwnedDescriptor(adopting: ends[1])
    }
}
