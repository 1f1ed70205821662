extension KubernetesClient {
    /// Gives what happens to a selection's objects after `resourceVersion`, in order, until the server ends the watch, which it does
    /// after some minutes. The first call has no events: the watch stands. Events that came together are given together; nothing is
    /// read on while `consume` runs.
    ///
    /// Throws where the connection breaks, the server refuses, or says nothing beyond the time it was given. An error event is given
    /// as an event.
    public func watch<Object: KubernetesObject>(
        _ kind: Object.Type, _ selection: Selection = .all, after resourceVersion: String,
        trim: (inout Object) -> Void = { _ in }, consume: ([WatchEvent<Object>]) async throws -> Void
    ) async throws {
        let timeout = Int.random(in: limits.watchTimeout)
        let query =
            selection.query + [
                ("watch", "true"), ("resourceVersion", resourceVersion), ("allowWatchBookmarks", "true"),
                ("timeoutSeconds", String(timeout)),
            ]
        var lines = WatchLines(lineBytesMax: limits.lineBytesMax)
        try await stream(
            .init(method: .GET, path: kind.resource.path(namespace: selection.namespace), query: query),
            silenceMax: .seconds(timeout) + limits.watchSlack
        ) { piece in
            guard let piece else { return try await consume([]) }
            lines.append(piece)
            var events: [WatchEvent<Object>] = []
            while let line = try lines.next() {
                if var event = try Self.decoded(line, WatchEvent<Object>.read) {
                    event.trim(trim)
                    events.append(event)
                }
            }
            if !events.isEmpty { try await consume(events) }
        }
        guard !lines.isMidLine else { throw KubernetesError.unreachable("the watch ended in the middle of an event") }
    }
}

extension WatchEvent {
    fileprivate mutating func trim(_ trim: (inout Object) -> Void) {
        switch self {
        case .added(var object):
            trim(&object)
            self = .added(object)
        case .modified(var object):
            trim(&object)
            self = .modified(object)
        case .deleted(var object):
            trim(&object)
            self = .deleted(object)
        case .bookmark, .error: break
        }
    }
}
