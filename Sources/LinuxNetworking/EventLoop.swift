import CLinux
import Glibc
import Synchronization

/// A timer set on one event loop.
public struct TimerToken: Hashable, Sendable {
    let token: TimerHeap<ContinuousClock.Instant, () -> Void>.Token
}

/// One thread's loop over descriptors (epoll, edge-triggered), timers and messages from other threads.
///
/// Everything but `execute` and `stop` is called on the thread that calls `run`, or before it does. One turn of the loop is:
/// messages, then events, then timers, then what asked for the end of the turn. So what another thread was told before a
/// packet came is known when the packet is looked at.
/// Fairness is the callers': one that has more to do than is polite asks for `endOfTurn` and goes on from there.
public final class EventLoop: @unchecked Sendable {
    private struct Mailbox {
        var jobs: [@Sendable () -> Void] = []
        var isSignalled = false
    }

    /// What is written at the end of a turn sets the next node to work: short turns keep both busy, where long ones have each
    /// wait for the other. Of 1, 2, 3, 4, 8, 16 and turns that grow, this carries most requests over 16 and over 64 connections,
    /// a fifth more than 8, and no fewer bytes.
    private static let eventsPerTurn = 2

    private let epoll: OwnedDescriptor
    private let wakeUp: OwnedDescriptor
    private let mailbox = Mutex(Mailbox())
    private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: eventsPerTurn)
    private var timers = TimerHeap<ContinuousClock.Instant, () -> Void>()
    private var endOfTurnBodies = TurnList<() -> Void>()
    private var endOfTurnPollables = TurnList<Pollable>()
    /// Deregistered in this turn: events for them may still be in the batch.
    private var departed = TurnList<Pollable>()
    private var turn: UInt64 = 0
    private var isStopped = false

    /// The time at which this turn began: cheap, and the same for all its work.
    public private(set) var now = ContinuousClock.now

    public init() throws(Errno) {
        epoll = OwnedDescriptor(adopting: try checked(clinux_epoll_create(), "epoll_create"))
        wakeUp = OwnedDescriptor(adopting: try checked(clinux_eventfd(), "eventfd"))
        // No context marks the loop's own descriptor.
        try checked(clinux_epoll_add(epoll.raw, wakeUp.raw, EPOLLIN.rawValue, nil), "epoll_ctl eventfd")
    }

    deinit { events.deallocate() }

    // MARK: - Running

    /// Returns after the turn in which `stop` was called.
    public func run() {
        isStopped = false
        while !isStopped { takeTurn(mayWait: true) }
    }

    /// From any thread. Messages sent before it are delivered; those sent after it wait for the next `run`.
    public func stop() {
        execute { [unowned self] in isStopped = true }
    }

    /// From any thread: `body` runs on the loop's thread, in the order of the calls.
    public func execute(_ body: @escaping @Sendable () -> Void) {
        let mustSignal = mailbox.withLock { mailbox in
            mailbox.jobs.append(body)
            defer { mailbox.isSignalled = true }
            return !mailbox.isSignalled
        }
        if mustSignal { clinux_eventfd_signal(wakeUp.raw) }
    }

    func takeTurn(mayWait: Bool) {
        turn += 1
        let count = clinux_epoll_wait(epoll.raw, events, Int32(EventLoop.eventsPerTurn), mayWait ? patience() : 0)
        now = .now
        // EINTR is an empty turn.
        let batch = 0..<Int(max(0, count))
        if batch.contains(where: { clinux_event_context(events + $0) == nil }) { readMail() }
        for index in batch {
            guard let context = clinux_event_context(events + index) else { continue }
            let occurred = IOEvents(rawValue: events[index].events)
            // Borrowed: the registration, or `departed`, keeps it alive.
            Unmanaged<Pollable>.fromOpaque(context)._withUnsafeGuaranteedRef { pollable in
                if case .registered(let since) = pollable.registration, since != turn { pollable.ready(occurred) }
            }
        }
        while let body = timers.popExpired(at: now) { body() }
        finishTurn()
    }

    /// In milliseconds, for epoll_wait: until the next timer, or for ever.
    private func patience() -> Int32 {
        guard endOfTurnBodies.isEmpty, endOfTurnPollables.isEmpty else { return 0 }
        guard let next = timers.earliest else { return -1 }
        let wait = (next - .now).components
        guard wait.seconds >= 0, wait.attoseconds >= 0 else { return 0 }
        // Rounded up, so that a timer is not awaited in a spin.
        let milliseconds = (wait.attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return Int32(min(wait.seconds * 1000 + milliseconds, 3_600_000))
    }

    private func readMail() {
        clinux_eventfd_drain(wakeUp.raw)
        let jobs = mailbox.withLock { mailbox in
            mailbox.isSignalled = false
            defer { mailbox.jobs = [] }
            return mailbox.jobs
        }
        for job in jobs { job() }
    }

    private func finishTurn() {
        // What these ask for in turn belongs to the next turn: new events come first.
        if !endOfTurnPollables.isEmpty {
            var batch = endOfTurnPollables.take()
            for pollable in batch {
                pollable.awaitsTurnEnd = false
                pollable.turnEnded()
            }
            batch.removeAll(keepingCapacity: true)
            endOfTurnPollables.recycle(&batch)
        }
        if !endOfTurnBodies.isEmpty {
            var batch = endOfTurnBodies.take()
            for body in batch { body() }
            batch.removeAll(keepingCapacity: true)
            endOfTurnBodies.recycle(&batch)
        }
        while !departed.isEmpty {
            // A deinit may deregister another.
            var batch = departed.take()
            batch.removeAll(keepingCapacity: true)
            departed.recycle(&batch)
        }
    }

    // MARK: - Descriptors

    /// Keeps `pollable` alive until it is deregistered. What is ready already is reported in the next turn.
    public func register(_ pollable: Pollable, _ events: IOEvents) throws(Errno) {
        precondition(pollable.registration == .none, "a pollable is registered with one loop at a time")
        let context = Unmanaged.passRetained(pollable)
        let result = clinux_epoll_add(epoll.raw, pollable.descriptor, events.rawValue, context.toOpaque())
        guard result == 0 else {
            context.release()
            throw Errno(code: -result, call: "epoll_ctl add")
        }
        pollable.registration = .registered(turn: turn)
    }

    /// After this `pollable` is not called any more; it is kept alive until the turn ends. To be done before its
    /// descriptor is closed. Nothing happens when it is not registered.
    public func deregister(_ pollable: Pollable) {
        guard pollable.registration != .none else { return }
        pollable.registration = .none
        let result = clinux_epoll_delete(epoll.raw, pollable.descriptor)
        assert(result == 0, "a descriptor was closed before it was deregistered: errno \(-result)")
        departed.append(Unmanaged.passUnretained(pollable).takeRetainedValue())
    }

    /// The same for one whose descriptor is closed next, and was never duplicated: the kernel then forgets it by itself.
    public func deregisterForClose(_ pollable: Pollable) {
        guard pollable.registration != .none else { return }
        pollable.registration = .none
        departed.append(Unmanaged.passUnretained(pollable).takeRetainedValue())
    }

    // MARK: - Time

    /// Runs `body` once, at the first turn that begins at least `delay` from now.
    @discardableResult
    public func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerToken {
        TimerToken(token: timers.insert(.now + delay, body))
    }

    /// Drops the timer's body at once. Nothing happens when it has fired.
    public func cancel(_ timer: TimerToken) { timers.cancel(timer.token) }

    /// Runs `body` after all events, messages and timers of this turn; called from such a body, at the end of the next.
    public func endOfTurn(_ body: @escaping () -> Void) { endOfTurnBodies.append(body) }

    /// Calls `turnEnded` of `pollable` once after this turn, however often it is asked; allocates nothing.
    public func endOfTurn(_ pollable: Pollable) {
        guard !pollable.awaitsTurnEnd else { return }
        pollable.awaitsTurnEnd = true
        endOfTurnPollables.append(pollable)
    }
}

/// What a turn leaves to its end: two arrays in turn, so that the memory of one serves for ever.
private struct TurnList<Element> {
    private var elements: [Element] = []
    private var spare: [Element] = []

    var isEmpty: Bool { elements.isEmpty }

    mutating func append(_ element: Element) { elements.append(element) }

    /// All of them, whose memory is to be given back by `recycle`; what is appended meanwhile is the next batch.
    mutating func take() -> [Element] {
        var batch: [Element] = []
        swap(&batch, &spare)
        swap(&batch, &elements)
        return batch
    }

    /// The batch is empty: what a deinit of its elements asked for has been appended already.
    mutating func recycle(_ batch: inout [Element]) { swap(&batch, &spare) }
}
