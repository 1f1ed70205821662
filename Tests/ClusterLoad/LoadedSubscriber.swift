import KubernetesKit
import MeshState
import Synchronization

/// A proxy's mesh, and when it came to contain each change.
final class LoadedSubscriber: Sendable {
    private struct State {
        var mesh = MeshSnapshot()
        var isNoting = false
        var seen: [LoadChange.Kind: [String: UInt64]] = [:]
    }

    private let state = Mutex(State())

    var mesh: MeshSnapshot { state.withLock(\.mesh) }

    /// What comes from now on is noted.
    func beginNoting() { state.withLock { $0.isNoting = true } }

    /// What the proxy does with an update; then, once the snapshot is there, the time is taken.
    func apply(_ update: MeshUpdate) {
        state.withLock { state in
            state.mesh = state.mesh.applying(update)
            guard state.isNoting else { return }
            let now = APIServer.monotonicNanoseconds
            for uid in update.removed { state.seen[.removed, default: [:]][uid] = now }
            for workload in update.upsertedWorkloads {
                if state.seen[.added]?[workload.uid] == nil { state.seen[.added, default: [:]][workload.uid] = now }
                guard !workload.services.isEmpty, state.seen[.serving]?[workload.uid] == nil else { continue }
                state.seen[.serving, default: [:]][workload.uid] = now
            }
        }
    }

    /// From the commit of each change to the snapshot that contains it; nil for one that has not come.
    func delays(of changes: [LoadChange]) -> [Duration?] {
        let seen = state.withLock(\.seen)
        return changes.map { change in
            seen[change.kind]?[change.uid].map { .nanoseconds(Int64($0) - Int64(change.committed)) }
        }
    }
}
