public import IPAddressing
public import LinuxNetworking
import Synchronization

/// The network namespaces of the pods that a kubelet runs on this node.
///
/// A pod's namespace is found by what the CNI plugin noted of it, and otherwise by the processes in the pod's cgroup. Nothing that was
/// found is believed until one of the pod's addresses was seen in it; and it is looked for anew when it is not there any more,
/// as when the pod's sandbox was made a second time under the same uid.
public final class NodePodNamespaces: PodNamespaces {
    private struct Known {
        var path: String
        var id: NamespaceID
        /// Those of the pod when it was found.
        var addresses: [IPAddress]
    }

    private struct Missing {
        var reason: String
        var attempts = 0
        var retryAt: ContinuousClock.Instant
    }

    private struct State {
        var known: [String: Known] = [:]
        var missing: [String: Missing] = [:]
        var scannedAt: ContinuousClock.Instant?
    }

    /// A look at all processes of a node costs some ten milliseconds: not for every event of a cluster.
    private static let scanInterval = Duration.milliseconds(100)
    private static let retryMin = Duration.milliseconds(200)
    private static let retryMax = Duration.seconds(5)

    private let proc: String
    private let namespaceDirectories: [String]
    private let notes: String?
    /// Of the machine itself.
    private let excluded: Set<NamespaceID>
    private let kernel = KernelPodNamespaces()
    private let state = Mutex(State())

    /// `proc` is the machine's procfs. `notes` is where the CNI plugin keeps a file `<uid>` for each pod, with the path of its
    /// namespace in the first line. In `namespaceDirectories` the container runtime may keep namespaces by name: such a path is the
    /// better one to note, as it stays when processes come and go. The caller's own namespace is the machine's, and so is that of the
    /// first process where it may be looked at.
    public init(
        proc: String = "/proc", namespaceDirectories: [String] = ["/run/netns"], notes: String? = nil
    ) throws {
        excluded = Set([NamespaceID(try .current()), NamespaceID(at: proc + "/1/ns/net")].compactMap(\.self))
        self.proc = proc
        self.namespaceDirectories = namespaceDirectories
        self.notes = notes
    }

    public func id(at path: String) -> NamespaceID? { kernel.id(at: path) }
    public func open(path: String) throws -> NetworkNamespace { try kernel.open(path: path) }
    public func addresses(in namespace: NetworkNamespace) throws -> Set<IPAddress> {
        try kernel.addresses(in: namespace)
    }

    public func find(_ pods: [ClusterState.Pod], now: ContinuousClock.Instant) -> [String: PodNamespaceFinding] {
        state.withLock { state in
            let uids = Set(pods.map(\.uid))
            state.known = state.known.filter { uids.contains($0.key) }
            state.missing = state.missing.filter { uids.contains($0.key) }
            var sought: [ClusterState.Pod] = []
            for pod in pods {
                if let known = state.known[pod.uid], known.addresses == pod.addresses, id(at: known.path) == known.id {
                    continue
                }
                state.known[pod.uid] = nil
                if let missing = state.missing[pod.uid], missing.retryAt > now { continue }
                sought.append(pod)
            }
            if !sought.isEmpty { search(for: sought, now, &state) }
            return state.missing.mapValues { .missing($0.reason) }
                .merging(state.known.mapValues { .found(path: $0.path, $0.id) }) { $1 }
        }
    }

    /// By the pod's cgroup also where the path that was noted leads nowhere: the process that it named has ended, and the pod has
    /// not. Another pod's namespace that has the same number by now is none of its.
    public func find(_ record: PodRecord) throws -> NetworkNamespace? {
        if let found = try? open(path: record.netns), NamespaceID(found) == record.namespace { return found }
        let scanned = try PodProcesses.scan(proc: proc, for: [record.uid], excluding: excluded).places[record.uid] ?? []
        guard let place = scanned.first(where: { $0.id == record.namespace }) else { return nil }
        let found = try open(path: place.path)
        return NamespaceID(found) == record.namespace ? found : nil
    }

    // MARK: - Looking

    private func search(for pods: [ClusterState.Pod], _ now: ContinuousClock.Instant, _ state: inout State) {
        var left: [ClusterState.Pod] = []
        for pod in pods {
            // Where the container runtime itself says that it is, or said so when it made it.
            let known = [pod.netns, noted(pod.uid)].lazy.compactMap(\.self).compactMap { try? self.verified($0, pod) }
            guard let known = known.first else {
                left.append(pod)
                continue
            }
            state.known[pod.uid] = known
            state.missing[pod.uid] = nil
        }
        guard !left.isEmpty else { return }
        if let scannedAt = state.scannedAt, now < scannedAt + Self.scanInterval { return }
        state.scannedAt = now
        let scanned = Result { () throws(Errno) in
            try PodProcesses.scan(proc: proc, for: Set(left.map(\.uid)), excluding: excluded)
        }
        lazy var names = namedNamespaces()
        for pod in left {
            do {
                var known = try choose(scanned.get().places[pod.uid] ?? [], pod)
                known.path = names[known.id] ?? known.path
                state.known[pod.uid] = known
                state.missing[pod.uid] = nil
            } catch {
                let attempts = (state.missing[pod.uid]?.attempts ?? 0) + 1
                state.missing[pod.uid] = Missing(
                    reason: "\(error)", attempts: attempts,
                    retryAt: now + min(Self.retryMin * (1 << min(attempts - 1, 8)), Self.retryMax))
            }
        }
    }

    private func choose(_ places: [PodProcesses.Place], _ pod: ClusterState.Pod) throws -> Known {
        guard !places.isEmpty else { throw SearchError.noProcess }
        var refusal: (any Error)?
        for place in places {
            do {
                let known = try verified(place.path, pod)
                // The number of a process is another's a moment later.
                let process = String(place.path.dropLast("/ns/net".count))
                guard PodProcesses.uid(ofProcess: process, among: [pod.uid]) != nil else { throw SearchError.noProcess }
                return known
            } catch {
                refusal = refusal ?? error
            }
        }
        throw refusal ?? SearchError.noProcess
    }

    private func verified(_ path: String, _ pod: ClusterState.Pod) throws -> Known {
        let namespace = try open(path: path)
        guard !excluded.contains(NamespaceID(namespace)) else { throw SearchError.machine(path) }
        let present = try addresses(in: namespace)
        guard pod.addresses.contains(where: present.contains) else {
            throw EnrolmentError.foreignNamespace(path: path, expected: pod.addresses, found: present)
        }
        return Known(path: path, id: NamespaceID(namespace), addresses: pod.addresses)
    }

    private func noted(_ uid: String) -> String? {
        guard let notes, !uid.contains("/"),
            let text = PodProcesses.contents(notes + "/" + uid, bytesMax: 4 << 10),
            let line = text.split(separator: "\n").first
        else { return nil }
        return String(line)
    }

    private func namedNamespaces() -> [NamespaceID: String] {
        var names: [NamespaceID: String] = [:]
        for directory in namespaceDirectories {
            for name in (try? Directory.entries(directory)) ?? [] {
                guard let id = id(at: directory + "/" + name) else { continue }
                names[id] = directory + "/" + name
            }
        }
        return names
    }

    private enum SearchError: Error, CustomStringConvertible {
        case noProcess
        case machine(String)

        var description: String {
            switch self {
            case .noProcess: "no process of the pod was found in a network namespace of its own"
            case .machine(let path): "\(path) is the machine's own"
            }
        }
    }
}
