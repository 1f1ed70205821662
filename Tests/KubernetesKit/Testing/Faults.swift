internal import Synchronization

/// What goes wrong with requests, when a test wants it to.
public struct Fault: Sendable {
    public enum Effect: Sendable {
        /// An error, as a `Status`; `retryAfter` in seconds.
        case refuse(code: Int, retryAfter: Int? = nil)
        /// No answer until `Faults.clear()`; then as if nothing had been.
        case stall
        /// The connection is closed before anything is answered.
        case close
        /// The connection is closed in the middle of the answer's body.
        case cutBody
    }

    public let effect: Effect
    /// How many requests it meets.
    public var times: Int
    /// Which requests; an empty text is any.
    public var verb: String
    public var resource: String
    public var user: String

    public init(_ effect: Effect, times: Int = .max, verb: String = "", resource: String = "", user: String = "") {
        self.effect = effect
        self.times = times
        self.verb = verb
        self.resource = resource
        self.user = user
    }
}

/// The faults that are switched on.
public final class Faults: Sendable {
    private struct State {
        var faults: [Fault] = []
        var stalled: [CheckedContinuation<Void, Never>] = []
        var stalledCount = 0
    }

    private let state = Mutex(State())

    /// Switches a fault on. The first that matches a request is the one that meets it.
    public func add(_ fault: Fault) { state.withLock { $0.faults.append(fault) } }

    /// Ends all faults; stalled requests go on.
    public func clear() {
        let stalled = state.withLock { state in
            defer { state = State(stalledCount: state.stalledCount) }
            return state.stalled
        }
        for request in stalled { request.resume() }
    }

    /// Requests that have been stalled so far.
    public var stalledCount: Int { state.withLock { $0.stalledCount } }

    func next(verb: String, resource: String, user: String) -> Fault.Effect? {
        state.withLock { state in
            let index = state.faults.firstIndex { fault in
                fault.times > 0 && [verb, ""].contains(fault.verb) && [resource, ""].contains(fault.resource)
                    && [user, ""].contains(fault.user)
            }
            guard let index else { return nil }
            state.faults[index].times -= 1
            return state.faults[index].effect
        }
    }

    /// - Parameter begun: called once the request is held.
    func stall(_ begun: () -> Void) async {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                state.stalled.append(continuation)
                state.stalledCount += 1
            }
            begun()
        }
    }
}
