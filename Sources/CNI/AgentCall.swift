import Glibc

/// One question to the agent over its Unix socket (SOCK_SEQPACKET), within a bound.
enum AgentCall {
    /// Why there is no answer.
    enum Failure: Error, Hashable, CustomStringConvertible {
        /// Nobody listens.
        case away(String)
        /// Somebody does, and says nothing.
        case silent
        case malformed

        var description: String {
            switch self {
            case .away(let reason): "the agent is not there (\(reason))"
            case .silent: "the agent does not answer"
            case .malformed: "the agent answers in another language: another version of it"
            }
        }
    }

    static func ask(_ question: SandboxQuestion, at path: String, by deadline: Deadline) throws(Failure)
        -> SandboxAnswer
    {
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw .away(String(cString: strerror(errno))) }
        defer { close(descriptor) }
        try connect(descriptor, path, deadline)
        let bytes = question.bytes
        while send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) < 0 {
            guard errno == EAGAIN else { throw .away(String(cString: strerror(errno))) }
            guard deadline.wait(for: descriptor, POLLOUT) else { throw .silent }
        }
        var answer = [UInt8](repeating: 0, count: SandboxAnswer.bytesMax)
        while true {
            let count = recv(descriptor, &answer, answer.count, 0)
            if count > 0 {
                guard let found = SandboxAnswer(bytes: Array(answer[..<count])) else { throw .malformed }
                return found
            }
            // It has ended meanwhile.
            if count == 0 { throw .away("it has closed the connection") }
            guard errno == EAGAIN || errno == EINTR else { throw .away(String(cString: strerror(errno))) }
            guard deadline.wait(for: descriptor, POLLIN) else { throw .silent }
        }
    }

    private static func connect(_ descriptor: Int32, _ path: String, _ deadline: Deadline) throws(Failure) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw .away("\(path) is too long") }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        while true {
            let result = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if result == 0 { return }
            // The queue of an agent that accepts nothing is full.
            guard errno == EAGAIN || errno == EINTR else { throw .away(String(cString: strerror(errno))) }
            guard deadline.pause() else { throw .silent }
        }
    }
}

/// A moment of the monotonic clock.
struct Deadline: Sendable {
    private let nanoseconds: UInt64

    init(in milliseconds: UInt64) { nanoseconds = Deadline.now + milliseconds * 1_000_000 }

    private static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private var milliseconds: Int32 {
        let now = Deadline.now
        return now >= nanoseconds ? 0 : Int32(clamping: (nanoseconds - now + 999_999) / 1_000_000)
    }

    /// False when it has passed.
    func wait(for descriptor: Int32, _ events: Int32) -> Bool {
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let result = poll(&entry, 1, milliseconds)
            if result > 0 { return true }
            if result == 0 || errno != EINTR { return false }
        }
    }

    /// For a moment; false when it has passed.
    func pause() -> Bool {
        let left = milliseconds
        guard left > 0 else { return false }
        usleep(UInt32(min(left, 20)) * 1000)
        return true
    }
}
