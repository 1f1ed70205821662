import CLinux

/// What epoll reports of a descriptor (epoll_ctl(2)).
public struct IOEvents: OptionSet, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let readable = IOEvents(rawValue: EPOLLIN.rawValue)
    public static let writable = IOEvents(rawValue: EPOLLOUT.rawValue)
    /// The peer has shut down its writing half.
    public static let peerClosed = IOEvents(rawValue: EPOLLRDHUP.rawValue)
    /// Both halves are gone. Reported without being asked for.
    public static let hangup = IOEvents(rawValue: EPOLLHUP.rawValue)
    /// SO_ERROR tells which. Reported without being asked for.
    public static let error = IOEvents(rawValue: EPOLLERR.rawValue)
}

/// Something an event loop calls when its descriptor becomes ready.
///
/// Used on the loop's thread only. The descriptor belongs to the subclass, which deregisters before closing it.
open class Pollable {
    public final var descriptor: Int32
    /// The loop's own bookkeeping.
    final var registration = Registration.none
    final var awaitsTurnEnd = false

    enum Registration: Equatable {
        case none
        case registered(turn: UInt64)
    }

    public init(descriptor: Int32) { self.descriptor = descriptor }

    /// Readiness has changed. Edge-triggered: what is not read or written until EAGAIN is not reported again.
    open func ready(_ events: IOEvents) {}

    /// The turn for which `EventLoop.endOfTurn(_: Pollable)` was asked is over.
    open func turnEnded() {}
}
