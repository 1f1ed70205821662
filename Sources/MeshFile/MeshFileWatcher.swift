import Glibc

/// The mesh file now and after every change, as a sequence that ends when its task is cancelled.
///
/// The first element comes at once. The file is looked at every `interval`, which works on every file system and however
/// an editor writes (in place, or a new file renamed over it); a change counts once it has lasted an interval, so that a
/// file in the middle of being written is not read. A change that leaves the contents equal makes no element.
public struct MeshFileWatcher: AsyncSequence, Sendable {
    public typealias Element = Result<MeshFile, MeshFileError>
    public typealias Failure = Never

    private let path: String
    private let interval: Duration
    private let clock: any Clock<Duration>

    public init(
        path: String, interval: Duration = .milliseconds(250), clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.path = path
        self.interval = interval
        self.clock = clock
    }

    public func makeAsyncIterator() -> Iterator {
        Iterator(path: path, interval: interval, clock: clock)
    }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let path: String
        fileprivate let interval: Duration
        fileprivate let clock: any Clock<Duration>
        private var read: FileStamp?
        private var delivered: Element?

        fileprivate init(path: String, interval: Duration, clock: any Clock<Duration>) {
            self.path = path
            self.interval = interval
            self.clock = clock
        }

        public mutating func next() async -> Element? {
            await next(isolation: nil)
        }

        public mutating func next(isolation actor: isolated (any Actor)?) async -> Element? {
            while !Task.isCancelled {
                // The stamp is taken before the contents: a change in between shows in the next stamp.
                let stamp = FileStamp(path: path)
                let changed = stamp != read
                if changed && read != nil {
                    guard (try? await clock.sleep(for: interval)) != nil else { return nil }
                    guard FileStamp(path: path) == stamp else { continue }
                }
                if changed {
                    read = stamp
                    let element = load()
                    if element != delivered {
                        delivered = element
                        return element
                    }
                }
                guard (try? await clock.sleep(for: interval)) != nil else { return nil }
            }
            return nil
        }

        private func load() -> Element {
            do throws(MeshFileError) {
                return .success(try MeshFile.load(path: path))
            } catch {
                return .failure(error)
            }
        }
    }
}

/// What changes when a file does; all zero for a file that cannot be seen.
private struct FileStamp: Equatable {
    private var device: UInt = 0
    private var inode: UInt = 0
    private var size = 0
    private var modified: [Int] = []
    private var changed: [Int] = []

    init(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        size = Int(status.st_size)
        modified = [Int(status.st_mtim.tv_sec), Int(status.st_mtim.tv_nsec)]
        changed = [Int(status.st_ctim.tv_sec), Int(status.st_ctim.tv_nsec)]
    }
}
