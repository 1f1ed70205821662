import CLinux
import Glibc

/// A thread of the operating system, for work that blocks or that owns its thread, such as an event loop.
///
/// It begins in the network namespace of the thread that makes it. The thread goes on when this value is dropped.
public final class SystemThread: @unchecked Sendable {
    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Not changed after `init`.
    private var thread = pthread_t()
    private let ended = Condition(false)

    /// How many cores this process may use: the affinity it was started with.
    public static var usableCores: Int { Int(clinux_usable_cores()) }

    /// The first 15 bytes of `name` are shown by `ps`. EAGAIN when there are too many threads.
    public init(name: String, _ body: @escaping @Sendable () -> Void) throws(Errno) {
        let ended = ended
        let start = Unmanaged.passRetained(
            Start(name: name) {
                body()
                ended.set(true)
            })
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        let result = pthread_create(&thread, &attributes, SystemThread.enter, start.toOpaque())
        guard result == 0 else {
            start.release()
            throw Errno(code: result, call: "start thread \(name)")
        }
    }

    /// Returns when the body has returned; at once if it has already.
    public func join() { ended.wait { $0 } }

    private static let enter: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        let start = Unmanaged<Start>.fromOpaque(context!).takeRetainedValue()
        clinux_name_thread(start.name)
        start.body()
        return nil
    }
}

/// A value that threads wait on.
final class Condition<Value>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var value: Value

    init(_ value: Value) {
        self.value = value
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    func set(_ new: Value) { update { $0 = new } }

    func update(_ body: (inout Value) -> Void) {
        pthread_mutex_lock(mutex)
        body(&value)
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }

    func wait(until isSatisfied: (Value) -> Bool) {
        pthread_mutex_lock(mutex)
        while !isSatisfied(value) { pthread_cond_wait(changed, mutex) }
        pthread_mutex_unlock(mutex)
    }

    /// Waits until `body` takes something.
    func take<Taken>(_ body: (inout Value) -> Taken?) -> Taken {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let taken = body(&value) { return taken }
            pthread_cond_wait(changed, mutex)
        }
    }
}
