/// Follows all objects of a selection: a list, then a watch, and so on for ever, through broken connections and servers that forget.
///
/// Nothing is delivered before the first list is complete. Deliveries come one at a time, in order, and the next event is not read
/// before the last delivery has returned. To follow several kinds, run an informer of each in a task group and let all of them deliver
/// to one actor, or into one stream.
public struct Informer<Object: KubernetesObject>: Sendable {
    private let client: KubernetesClient
    private let selection: Selection
    private let trim: @Sendable (inout Object) -> Void
    private let draw: @Sendable () -> Double
    private let sleep: @Sendable (Duration) async throws -> Void

    /// `trim` takes away what the consumer does not read, before it is held: annotations, for one.
    public init(
        _ kind: Object.Type, of client: KubernetesClient, selection: Selection = .all,
        trim: @escaping @Sendable (inout Object) -> Void = { _ in },
        draw: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.client = client
        self.selection = selection
        self.trim = trim
        self.draw = draw
        self.sleep = sleep
    }

    private struct WatchOver: Error {
        let reason: KubernetesError
    }

    /// Until its task is cancelled; then it returns.
    public func run(_ deliver: @Sendable (InformerEvent<Object>) async -> Void) async {
        var machine = InformerMachine<Object>()
        var step = InformerMachine<Object>.Step.list
        while !Task.isCancelled {
            let action: InformerMachine<Object>.Action
            switch step {
            case .list: action = await list(&machine)
            case .watch(let version): action = await watch(&machine, after: version, deliver)
            }
            // What a cancelled request says is nobody's failure.
            if Task.isCancelled { return }
            for event in action.deliveries { await deliver(event) }
            if let wait = action.wait {
                do { try await sleep(wait) } catch { return }
            }
            step = action.next
        }
    }

    private func list(_ machine: inout InformerMachine<Object>) async -> InformerMachine<Object>.Action {
        do {
            return machine.listed(try await client.list(Object.self, selection, trim: trim), draw: draw())
        } catch {
            return machine.listFailed(Self.reason(error), draw: draw())
        }
    }

    private func watch(
        _ machine: inout InformerMachine<Object>, after version: String,
        _ deliver: @Sendable (InformerEvent<Object>) async -> Void
    ) async -> InformerMachine<Object>.Action {
        let start = ContinuousClock.now
        var reason: KubernetesError?
        do {
            try await client.watch(Object.self, selection, after: version, trim: trim) { events in
                guard !events.isEmpty else {
                    for event in machine.watchOpened() { await deliver(event) }
                    return
                }
                let received = machine.received(events)
                for event in received.deliveries { await deliver(event) }
                if let end = received.end { throw WatchOver(reason: end) }
            }
        } catch {
            reason = (error as? WatchOver)?.reason ?? Self.reason(error)
        }
        return machine.watchEnded(reason, lasted: ContinuousClock.now - start, draw: draw())
    }

    private static func reason(_ error: any Error) -> KubernetesError {
        error as? KubernetesError ?? .unreachable("\(error)")
    }
}
