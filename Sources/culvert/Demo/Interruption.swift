import Glibc
import Synchronization

/// Ctrl-C, SIGTERM and SIGHUP, turned into a flag: the demo looks at it wherever it waits, and then cleans up.
enum Interruption {
    /// Thrown out of every wait once a signal came.
    struct Interrupted: Error {
        let signal: Int32
    }

    private static let received = Atomic<Int32>(0)

    /// Once, before anything that has to be cleaned up.
    static func install() {
        // Made now: a signal handler must not be the first to touch it.
        received.store(0, ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { Interruption.received.store($0, ordering: .relaxed) }
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaction(signal, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }

    static func check() throws(Interrupted) {
        let signal = received.load(ordering: .relaxed)
        if signal != 0 { throw Interrupted(signal: signal) }
    }

    static func sleep(_ duration: Duration) throws(Interrupted) {
        let end = ContinuousClock.now + duration
        while true {
            try check()
            let left = end - .now
            guard left > .zero else { return }
            usleep(UInt32(min(left, .milliseconds(20)) / .microseconds(1)))
        }
    }

    /// Asks every few milliseconds, until `isDone` says so; false when `limit` passed first.
    static func wait(atMost limit: Duration, until isDone: () throws -> Bool) throws -> Bool {
        let end = ContinuousClock.now + limit
        while true {
            try check()
            if try isDone() { return true }
            if .now >= end { return false }
            usleep(10_000)
        }
    }
}
