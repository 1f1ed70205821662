import Glibc

/// Ends this process when the one that started it is gone, even by SIGKILL.
///
/// The starter passes the read end of a pipe whose write end only it holds, and names it in the environment. The kernel
/// closes the write end with the starter, and the read here returns. PR_SET_PDEATHSIG would fire when the starting
/// thread ends, and misses a starter that dies before the call.
enum ParentDeath {
    static let variable = "CULVERT_PARENT_PIPE"

    /// First thing in `main`. Does nothing unless the variable is set and names a pipe.
    static func honour() {
        guard let value = getenv(variable), let descriptor = Int32(String(cString: value)) else { return }
        // What this process starts must not think that the pipe is for it.
        unsetenv(variable)
        guard descriptor > 2, lseek(descriptor, 0, SEEK_CUR) < 0, errno == ESPIPE else { return }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        var thread = pthread_t()
        let argument = UnsafeMutableRawPointer(bitPattern: Int(descriptor))
        _ = pthread_create(
            &thread, &attributes,
            { argument in
                let descriptor = Int32(Int(bitPattern: argument))
                var byte: UInt8 = 0
                while true {
                    let count = read(descriptor, &byte, 1)
                    if count < 0 && errno == EINTR { continue }
                    // Nobody writes: this is the end of the pipe. Not an orderly stop: nobody is left to wait for it.
                    kill(getpid(), SIGKILL)
                }
            }, argument)
    }
}
