import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent

/// How one kubelet names a pod's cgroups, in one hierarchy.
struct CgroupLayout: CustomTestStringConvertible, Sendable {
    let hierarchy: String
    let isSystemd: Bool

    var testDescription: String { "\(hierarchy), \(isSystemd ? "systemd" : "cgroupfs")" }

    static let all = TestSandbox.hierarchies.flatMap { hierarchy in
        [true, false].map { CgroupLayout(hierarchy: hierarchy, isSystemd: $0) }
    }

    /// `scope` is unique for this process, so that tests can run beside each other.
    func path(_ uid: String, _ container: String) -> String {
        let scope = "culvert-test-\(getpid())-\(uid.suffix(12))"
        let escaped = String(uid.map { $0 == "-" ? "_" : $0 })
        return isSystemd
            ? "\(scope)/kubepods.slice/kubepods-pod\(escaped).slice/cri-containerd-\(container).scope"
            : "\(scope)/kubepods/pod\(uid)/\(container)"
    }

    func sandbox(_ uid: String, _ container: String, in namespace: NetworkNamespace?) throws -> TestSandbox {
        try TestSandbox(in: namespace, hierarchy: hierarchy, cgroup: path(uid, container))
    }
}

@Suite(
    "Where a pod's network namespace is", .serialized, .timeLimit(.minutes(1)),
    .enabled(if: !CgroupLayout.all.isEmpty, "needs root and cgroups: makes network namespaces"))
struct NodePodNamespacesTests {
    private let now = ContinuousClock.now
    private let address = IPAddress(v4: 0x0af4_0a07)
    private let uid = TestUID.next()

    private func pod(_ uid: String, _ address: IPAddress) -> ClusterState.Pod {
        ClusterState.Pod(
            uid: uid, name: "web", namespace: "shop", serviceAccount: "default", node: "node-a",
            addresses: [address], netns: nil)
    }

    private func namespace(holding address: IPAddress?) throws -> NetworkNamespace {
        let namespace = try NetworkNamespace.make()
        try namespace.run {
            let routes = try RouteSocket()
            try routes.setUp("lo")
            if let address { try routes.addAddress(address, prefixLength: 32, to: "lo") }
        }
        return namespace
    }

    /// Times of processes are told in hundredths of a second.
    private func tick() { usleep(20_000) }

    private func expectFound(
        _ namespaces: NodePodNamespaces, _ expected: NetworkNamespace, at path: String? = nil,
        after: Duration = .zero, _ location: SourceLocation = #_sourceLocation
    ) throws {
        let finding = try #require(
            namespaces.find([pod(uid, address)], now: now + after)[uid], sourceLocation: location)
        guard case .found(let found, let id) = finding else {
            Issue.record("\(finding)", sourceLocation: location)
            return
        }
        #expect(id == NamespaceID(expected), sourceLocation: location)
        #expect(NamespaceID(try NetworkNamespace(path: found)) == id, sourceLocation: location)
        if let path { #expect(found == path, sourceLocation: location) }
    }

    private func reason(_ namespaces: NodePodNamespaces, after: Duration = .zero) throws -> String {
        let finding = try #require(namespaces.find([pod(uid, address)], now: now + after)[uid])
        guard case .missing(let reason) = finding else { return "found: \(finding)" }
        return reason
    }

    @Test("by the processes in the pod's cgroup, of every driver and version", arguments: CgroupLayout.all)
    func byCgroup(_ layout: CgroupLayout) throws {
        let inside = try namespace(holding: address)
        let sandbox = try layout.sandbox(uid, "pause", in: inside)
        try expectFound(try NodePodNamespaces(), inside, at: sandbox.namespacePath)
    }

    @Test("the procfs of the machine may be mounted elsewhere")
    func elsewhere() throws {
        let directory = try ScratchDirectory()
        symlink("/proc", directory.path + "/proc")
        defer { unlink(directory.path + "/proc") }
        let inside = try namespace(holding: address)
        let sandbox = try CgroupLayout.all[0].sandbox(uid, "pause", in: inside)
        try expectFound(
            try NodePodNamespaces(proc: directory.path + "/proc"), inside, at: directory.path + sandbox.namespacePath)
    }

    @Test("without a procfs nothing is found, and it is said why")
    func noProc() throws {
        #expect(try reason(NodePodNamespaces(proc: "/nowhere")).contains("/nowhere"))
    }

    @Test("never the machine's own, though its processes in the pod's cgroup are older: a runtime's monitor")
    func host() throws {
        let layout = CgroupLayout.all[0]
        let monitor = try layout.sandbox(uid, "conmon", in: nil)
        let namespaces = try NodePodNamespaces()
        #expect(try reason(namespaces).contains("no process of the pod"))
        tick()
        let inside = try namespace(holding: address)
        let sandbox = try layout.sandbox(uid, "pause", in: inside)
        try expectFound(namespaces, inside, at: sandbox.namespacePath, after: .seconds(1))
        withExtendedLifetime(monitor) {}
    }

    @Test("that of the oldest process: containers may have namespaces of their own, with any address")
    func oldest() throws {
        let layout = CgroupLayout.all[0]
        let inside = try namespace(holding: address)
        let sandbox = try layout.sandbox(uid, "pause", in: inside)
        tick()
        let nested = try layout.sandbox(uid, "nested", in: namespace(holding: address))
        try expectFound(try NodePodNamespaces(), inside, at: sandbox.namespacePath)
        withExtendedLifetime(nested) {}
    }

    @Test("only one that has the pod's address in it, though it is not the oldest")
    func foreign() throws {
        let layout = CgroupLayout.all[0]
        let namespaces = try NodePodNamespaces()
        let nested = try layout.sandbox(uid, "nested", in: namespace(holding: nil))
        #expect(try reason(namespaces).contains("is not this pod's: expected one of 10.244.10.7"))
        tick()
        let inside = try namespace(holding: address)
        let sandbox = try layout.sandbox(uid, "pause", in: inside)
        try expectFound(namespaces, inside, at: sandbox.namespacePath, after: .seconds(1))
        withExtendedLifetime(nested) {}
    }

    @Test("by what the CNI plugin noted, without a look at any process; what it noted wrongly is not believed")
    func noted() throws {
        let directory = try ScratchDirectory()
        let (inside, other) = (try namespace(holding: address), try namespace(holding: nil))
        // A pod without a single process.
        let path = "/proc/\(getpid())/fd/\(inside.descriptor)"
        let note = directory.path + "/" + uid
        defer { unlink(note) }
        func write(_ text: String) throws {
            let file = try #require(fopen(note, "w"))
            fputs(text, file)
            fclose(file)
        }
        try write(path + "\n")
        try expectFound(try NodePodNamespaces(proc: "/nowhere", notes: directory.path), inside, at: path)

        try write("/proc/\(getpid())/fd/\(other.descriptor)\n")
        let namespaces = try NodePodNamespaces(notes: directory.path)
        #expect(try reason(namespaces).contains("no process of the pod"))
        // Nor is the machine's own.
        try write("/proc/self/ns/net\n")
        #expect(try reason(namespaces, after: .seconds(1)).contains("no process of the pod"))
        let sandbox = try CgroupLayout.all[0].sandbox(uid, "pause", in: inside)
        try expectFound(namespaces, inside, at: sandbox.namespacePath, after: .seconds(2))
    }

    @Test("by name where the runtime keeps it by name: that stays when processes go")
    func named() throws {
        let directory = try ScratchDirectory()
        let inside = try namespace(holding: address)
        let name = directory.path + "/cni-1"
        symlink("/proc/\(getpid())/fd/\(inside.descriptor)", name)
        defer { unlink(name) }
        let sandbox = try CgroupLayout.all[0].sandbox(uid, "app", in: inside)
        let namespaces = try NodePodNamespaces(namespaceDirectories: [directory.path])
        try expectFound(namespaces, inside, at: name)
        sandbox.end()
        try expectFound(namespaces, inside, at: name)
    }

    @Test("anew, when the sandbox is made a second time under the same uid")
    func recreated() throws {
        let layout = CgroupLayout.all[0]
        let namespaces = try NodePodNamespaces()
        let first = try namespace(holding: address)
        let sandbox = try layout.sandbox(uid, "pause-1", in: first)
        try expectFound(namespaces, first, at: sandbox.namespacePath)
        sandbox.end()
        #expect(try reason(namespaces, after: .seconds(1)).contains("no process of the pod"))
        let second = try namespace(holding: address)
        let again = try layout.sandbox(uid, "pause-2", in: second)
        // Not at every moment: a look at all processes costs something.
        #expect(try reason(namespaces, after: .seconds(1)).contains("no process of the pod"))
        try expectFound(namespaces, second, at: again.namespacePath, after: .seconds(2))
    }

    @Test("of a pod on record, also when the process that led to it has ended and the pod has not")
    func recorded() throws {
        let layout = CgroupLayout.all[0]
        let inside = try namespace(holding: address)
        let pause = try layout.sandbox(uid, "pause", in: inside)
        let app = try layout.sandbox(uid, "app", in: inside)
        let namespaces = try NodePodNamespaces()
        let record = PodRecord(uid: uid, netns: pause.namespacePath, namespace: NamespaceID(inside))
        #expect(try namespaces.find(record).map(NamespaceID.init) == record.namespace)
        pause.end()
        #expect(try namespaces.find(record).map(NamespaceID.init) == record.namespace)
        // Another pod's with the same number would not be its.
        let other = PodRecord(uid: TestUID.next(), netns: pause.namespacePath, namespace: NamespaceID(inside))
        #expect(try namespaces.find(other) == nil)
        app.end()
        #expect(try namespaces.find(record) == nil)
    }

    @Test("of 250 pods in one look, and of those that are known without one")
    func many() throws {
        let layout = CgroupLayout.all[0]
        let inside = try namespace(holding: nil)
        var sandboxes: [TestSandbox] = []
        var pods: [ClusterState.Pod] = []
        try inside.run {
            let routes = try RouteSocket()
            for number in 0..<250 {
                let pod = pod(TestUID.next(), IPAddress(v4: 0x0af4_0b00 + UInt32(number)))
                try routes.addAddress(pod.addresses[0], prefixLength: 32, to: "lo")
                sandboxes.append(try layout.sandbox(pod.uid, "pause", in: nil))
                pods.append(pod)
            }
        }
        let namespaces = try NodePodNamespaces()
        for _ in 0..<2 {
            let found = namespaces.find(pods, now: now)
            #expect(found.count == 250)
            for (pod, sandbox) in zip(pods, sandboxes) {
                #expect(found[pod.uid] == .found(path: sandbox.namespacePath, NamespaceID(inside)))
            }
        }
        withExtendedLifetime(sandboxes) {}
    }
}

/// UIDs as the API server makes them, each once.
enum TestUID {
    static func next() -> String {
        func hex(_ count: Int) -> String {
            String((0..<count).compactMap { _ in "0123456789abcdef".randomElement() })
        }
        return "\(hex(8))-\(hex(4))-4\(hex(3))-8\(hex(3))-\(hex(12))"
    }
}
