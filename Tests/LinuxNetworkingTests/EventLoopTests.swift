import Glibc
import Synchronization
import Testing

@testable import LinuxNetworking

/// Calls closures of the test's.
private final class Probe: Pollable {
    var onReady: (IOEvents) -> Void = { _ in }
    var onTurnEnd: () -> Void = {}
    var onDeinit: () -> Void = {}

    override func ready(_ events: IOEvents) { onReady(events) }
    override func turnEnded() { onTurnEnd() }

    deinit { onDeinit() }
}

/// Both ends of a stream, closed at the end of the test.
private final class Pair {
    let near: Int32
    let far: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        let result = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | 0o4000, 0, &ends)
        precondition(result == 0)
        (near, far) = (ends[0], ends[1])
    }

    func write(_ count: Int) { _ = Glibc.write(far, [UInt8](repeating: 1, count: count), count) }

    deinit {
        close(near)
        close(far)
    }
}

@Suite("Event loop")
struct EventLoopTests {
    @Test("reports an edge once, and the next one again")
    func edges() throws {
        let (loop, pair) = (try EventLoop(), Pair())
        let probe = Probe(descriptor: pair.near)
        var seen: [IOEvents] = []
        probe.onReady = { seen.append($0) }
        try loop.register(probe, [.readable, .peerClosed])
        pair.write(1)
        loop.takeTurn(mayWait: false)
        loop.takeTurn(mayWait: false)
        #expect(seen == [.readable])
        pair.write(1)
        loop.takeTurn(mayWait: false)
        #expect(seen.count == 2)
        shutdown(pair.far, Int32(SHUT_WR))
        loop.takeTurn(mayWait: false)
        #expect(seen.last?.contains(.peerClosed) == true)
        loop.deregister(probe)
    }

    @Test("one that is deregistered during a turn is not called again, and lives until the turn ends")
    func deregistered() throws {
        let loop = try EventLoop()
        let pairs = [Pair(), Pair()]
        var called = 0
        var ended = 0
        var endedDuringTurn = false
        do {
            var probes = pairs.map { Probe(descriptor: $0.near) }
            for index in 0..<2 {
                let other = Unmanaged.passUnretained(probes[1 - index])
                // Whichever is called first deregisters the other, whose event is in the same batch.
                probes[index].onReady = { _ in
                    called += 1
                    loop.deregister(other.takeUnretainedValue())
                    endedDuringTurn = ended > 0
                }
                probes[index].onDeinit = { ended += 1 }
            }
            for probe in probes { try loop.register(probe, .readable) }
            probes = []
        }
        for pair in pairs { pair.write(1) }
        loop.takeTurn(mayWait: false)
        #expect(called == 1)
        #expect(!endedDuringTurn)
        #expect(ended == 1)
        loop.takeTurn(mayWait: false)
        #expect(called == 1)
    }

    @Test("registering again in the same turn brings no stale event")
    func registeredAgain() throws {
        let loop = try EventLoop()
        let pairs = [Pair(), Pair()]
        let probes = pairs.map { Probe(descriptor: $0.near) }
        var called = [0, 0]
        for index in 0..<2 {
            probes[index].onReady = { [unowned other = probes[1 - index]] _ in
                called[index] += 1
                guard called == [1, 0] || called == [0, 1] else { return }
                loop.deregister(other)
                try? loop.register(other, .readable)
            }
            try loop.register(probes[index], .readable)
        }
        for pair in pairs { pair.write(1) }
        loop.takeTurn(mayWait: false)
        #expect(called.reduce(0, +) == 1)
        // epoll reports what is ready at registration.
        loop.takeTurn(mayWait: false)
        #expect(called == [1, 1])
        for probe in probes { loop.deregister(probe) }
    }

    @Test("the end of a turn comes after its events, messages and timers; asked for there, after the next turn")
    func order() throws {
        let (loop, pair) = (try EventLoop(), Pair())
        let probe = Probe(descriptor: pair.near)
        let log = Log()
        probe.onReady = { _ in
            loop.endOfTurn(probe)
            loop.endOfTurn(probe)
            loop.endOfTurn {
                log.append("end")
                loop.endOfTurn { log.append("next end") }
            }
            log.append("event")
        }
        probe.onTurnEnd = { log.append("turn ended") }
        try loop.register(probe, .readable)
        pair.write(1)
        loop.execute { log.append("message") }
        loop.schedule(after: .zero) { log.append("timer") }
        loop.takeTurn(mayWait: false)
        #expect(Set(log.entries.prefix(3)) == ["event", "message", "timer"])
        #expect(log.entries.dropFirst(3) == ["turn ended", "end"])
        loop.takeTurn(mayWait: true)
        #expect(log.entries.last == "next end")
        loop.deregister(probe)
    }

    @Test("messages from many threads all arrive, those of one thread in order")
    func messages() throws {
        let loop = try EventLoop()
        let seen = Mutex<[[Int]]>([[], [], [], []])
        let threads = try (0..<4).map { thread in
            try SystemThread(name: "sender") {
                for index in 0..<1_000 {
                    loop.execute { seen.withLock { $0[thread].append(index) } }
                }
            }
        }
        let stopper = try SystemThread(name: "stopper") {
            for thread in threads { thread.join() }
            loop.stop()
        }
        loop.run()
        stopper.join()
        #expect(seen.withLock { $0 } == [[Int]](repeating: Array(0..<1_000), count: 4))
    }

    @Test("timers wake a waiting loop, not before their time; cancelled ones do not")
    func timers() throws {
        let loop = try EventLoop()
        var fired: [String] = []
        let start = ContinuousClock.now
        let cancelled = loop.schedule(after: .milliseconds(1)) { fired.append("cancelled") }
        loop.schedule(after: .milliseconds(20)) {
            fired.append("late")
            loop.stop()
        }
        loop.schedule(after: .milliseconds(5)) { fired.append("early") }
        loop.cancel(cancelled)
        loop.run()
        #expect(fired == ["early", "late"])
        #expect(ContinuousClock.now - start >= .milliseconds(20))
    }
}

/// Lines from closures that must be Sendable.
private final class Log: Sendable {
    private let lines = Mutex<[String]>([])

    var entries: [String] { lines.withLock { $0 } }
    func append(_ line: String) { lines.withLock { $0.append(line) } }
}
