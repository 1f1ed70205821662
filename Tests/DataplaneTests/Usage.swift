import Glibc
import LinuxNetworking
import Synchronization
import Testing

/// What this process has of the kernel.
enum Usage {
    static func descriptors() throws -> Int { try entries("/proc/self/fd").count }

    /// After what is free was given back.
    static func residentKiB() throws -> Int {
        _ = trim(0)
        return try presentKiB()
    }

    /// As it is, free memory of the allocator's included.
    static func presentKiB() throws -> Int {
        try #require(Int(text("/proc/self/statm").split(separator: " ")[1])) * 4
    }

    /// malloc_trim(3), which the Glibc module does not show.
    private static let trim: @convention(c) (Int) -> Int32 = {
        guard let symbol = dlsym(nil, "malloc_trim") else { return { _ in 0 } }
        return unsafeBitCast(symbol, to: (@convention(c) (Int) -> Int32).self)
    }()

    static func threads() throws -> Set<String> { Set(try entries("/proc/self/task")) }

    /// On a CPU, so far; nothing for a thread that is no event loop, or has ended.
    static func time(ofLoop thread: String) -> Duration {
        guard let name = try? text("/proc/self/task/\(thread)/comm"), name.hasPrefix("culvert-loop") else {
            return .zero
        }
        let nanoseconds = (try? text("/proc/self/task/\(thread)/schedstat"))?.split(separator: " ").first.flatMap {
            Int64($0)
        }
        return .nanoseconds(nanoseconds ?? 0)
    }

    /// Of the calling thread, on a CPU.
    static var timeOfThread: Duration {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    private static func entries(_ path: String) throws -> [String] {
        let directory = try #require(opendir(path))
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    private static func text(_ path: String) throws -> String {
        // A thread may end while we look.
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        guard fgets(&line, Int32(line.count), file) != nil else { return "" }
        return String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// The most that this process had at a moment between this object's making and `stop`, beyond what it had before.
final class UsagePeak: Sendable {
    let descriptorsBefore: Int
    let kibibytesBefore: Int
    private let state: Mutex<State>

    private struct State {
        var descriptors: Int
        var kibibytes: Int
        var mustStop = false
        var hasStopped = false
    }

    init() throws {
        let (descriptors, kibibytes) = (try Usage.descriptors(), try Usage.residentKiB())
        (descriptorsBefore, kibibytesBefore) = (descriptors, kibibytes)
        state = Mutex(State(descriptors: descriptors, kibibytes: kibibytes))
        _ = try SystemThread(name: "test-usage") { [self] in
            while look() { usleep(5000) }
        }
    }

    var descriptors: Int { state.withLock { $0.descriptors } - descriptorsBefore }
    var kibibytes: Int { state.withLock { $0.kibibytes } - kibibytesBefore }

    private func look() -> Bool {
        let (descriptors, kibibytes) = ((try? Usage.descriptors()) ?? 0, (try? Usage.presentKiB()) ?? 0)
        return state.withLock { state in
            state.descriptors = max(state.descriptors, descriptors)
            state.kibibytes = max(state.kibibytes, kibibytes)
            state.hasStopped = state.mustStop
            return !state.mustStop
        }
    }

    func stop() async throws {
        state.withLock { $0.mustStop = true }
        while !state.withLock({ $0.hasStopped }) { try await Task.sleep(for: .milliseconds(1)) }
    }
}

extension Duration {
    var milliseconds: Int { Int(self / .milliseconds(1)) }
}
