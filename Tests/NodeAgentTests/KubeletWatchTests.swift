import IPAddressing
import Logging
import Redirection
import Synchronization
import Testing

@testable import NodeAgent

@Suite("Which kubelet the guard trusts")
struct KubeletWatchTests {
    /// Refuses a cgroup that it is told to.
    private final class ScriptedGuard: MeshGuard {
        struct State {
            var trusted: [String?] = []
            var refused: String?
            var counts = ProbeCounts(noted: 0, passed: 0)
        }

        let state = Mutex(State())

        func trust(kubelet cgroup: String?) throws {
            try state.withLock { state in
                state.trusted.append(cgroup)
                if let cgroup, cgroup == state.refused { throw Refused(description: "no such cgroup") }
            }
        }

        func reserve(_ source: ProbeSource?) throws {}
        func probeCounts() throws -> ProbeCounts { state.withLock(\.counts) }
        func publish(_ addresses: Set<IPAddress>) throws {}
        func publish(adding: Set<IPAddress>, removing: Set<IPAddress>) throws {}
        func enrolledAddresses() throws -> Set<IPAddress> { [] }
        func takeEvents() throws -> [GuardEvent] { [] }
        var pods: [String] { [] }
        func detach(pod uid: String) throws {}
        func removeIfUnused() {}
    }

    private struct Log: LogHandler {
        let journal: Journal
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) { journal.note("\(event.level): \(event.message)") }
    }

    private func watch(_ exemption: ProbeExemption, _ journal: Journal) -> KubeletWatch {
        KubeletWatch(exemption, logger: Logger(label: "test") { _ in Log(journal: journal) })
    }

    @Test("that of the cgroup, as long as it can be looked at; what changes is logged once")
    func cgroup() {
        let (journal, podGuard) = (Journal(), ScriptedGuard())
        var watch = watch(.cgroup("/sys/fs/cgroup/kubelet"), journal)
        for refused in [nil, nil, "/sys/fs/cgroup/kubelet", "/sys/fs/cgroup/kubelet", nil] {
            podGuard.state.withLock { $0.refused = refused }
            watch.look(podGuard, pods: [])
        }
        let path = "/sys/fs/cgroup/kubelet"
        #expect(watch.trusted == path)
        // What was trusted is withdrawn when it cannot be looked at.
        #expect(podGuard.state.withLock(\.trusted) == [path, path, path, nil, path, nil, path])
        let found = "info: Kubelet's probes reach strict pods"
        #expect(journal.lines == [found, "error: Kubelet's probes of strict pods are refused", found])
    }

    @Test("nobody, when told so: also one that an earlier agent trusted")
    func none() {
        let (journal, podGuard) = (Journal(), ScriptedGuard())
        var watch = watch(.none, journal)
        for _ in 0..<2 { watch.look(podGuard, pods: []) }
        #expect(podGuard.state.withLock(\.trusted) == [nil, nil])
        #expect(watch.trusted == "nobody's")
        #expect(journal.lines == ["info: No kubelet: plaintext to strict pods is refused, probes too"])
    }

    @Test("probes that were missed are told of, those from before the agent are not")
    func missed() {
        let (journal, podGuard) = (Journal(), ScriptedGuard())
        var watch = watch(.none, journal)
        for (noted, passed) in [(5, 2), (6, 3), (8, 4), (8, 4)] as [(UInt64, UInt64)] {
            podGuard.state.withLock { $0.counts = ProbeCounts(noted: noted, passed: passed) }
            watch.look(podGuard, pods: [])
        }
        #expect(watch.counts?.missed == 4)
        #expect(journal.lines.dropFirst() == ["warning: Probes were not recognised in the pod, and refused"])
    }
}
