/// When to look at a plug-in CA's files again: decided from what was seen, without a clock.
///
/// A change counts once it has lasted from one look to the next: of files that are renamed one by one the last is in place by then. What
/// was looked at is not looked at again until it changes; but for `.changing`, which says nothing about the files.
struct PluginDebounce<Stamp: Equatable> {
    private var examined: Stamp
    private var seen: Stamp

    init(examined: Stamp) {
        self.examined = examined
        seen = examined
    }

    /// Whether the files are to be read now.
    mutating func look(_ stamp: Stamp) -> Bool {
        defer { seen = stamp }
        return stamp == seen && stamp != examined
    }

    mutating func didExamine(_ stamp: Stamp) { examined = stamp }
}

/// The sets that are put in place of one that is in force, until the task is cancelled. A set that is refused is said so once.
public struct PluginWatcher: Sendable {
    private let directory: PluginDirectory
    private let interval: Duration

    /// Looks every `interval`, which works on every file system and however the files are replaced.
    public init(_ directory: PluginDirectory, interval: Duration = .seconds(1)) {
        self.directory = directory
        self.interval = interval
    }

    /// `files` were read last. Those that are equal to the last ones are not handed over.
    public func run(
        after files: PluginFiles, _ replaced: (Result<PluginFiles, PluginFlaw>) async -> Void
    ) async {
        var last: Result<PluginFiles, PluginFlaw> = .success(files)
        // Not the present stamp: what changed since they were read is seen at once.
        var debounce = PluginDebounce<PluginStamp?>(examined: nil)
        while (try? await Task.sleep(for: interval)) != nil {
            let stamp = PluginStamp(directory)
            guard debounce.look(stamp) else { continue }
            let result: Result<PluginFiles, PluginFlaw>
            do throws(PluginFlaw) { result = .success(try directory.read()) } catch { result = .failure(error) }
            if case .failure(.changing) = result { continue }
            debounce.didExamine(stamp)
            guard result != last else { continue }
            last = result
            await replaced(result)
        }
    }
}
