import CLibBPF
import Glibc
import LinuxNetworking
import Logging
import MeshAPI
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

/// Every part of an enrolled pod's capture, taken away or changed by hand: it is named, counted and put back, and meanwhile no
/// plaintext payload arrives at the other pod.
@Suite(
    "Drift of every part", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
struct DriftTests {
    struct Damage: Sendable {
        let name: String
        let missing: [String]
        let act: @Sendable (DriftScene) throws -> Void

        init(_ name: String, _ missing: String..., act: @escaping @Sendable (DriftScene) throws -> Void) {
            self.name = name
            self.missing = missing
            self.act = act
        }

        /// In the pod, by a shell.
        static func shell(_ command: String, _ missing: String...) -> Damage {
            var damage = Damage(command) { _ = try $0.web.shell(command) }
            damage = Damage(name: damage.name, missing: missing, act: damage.act)
            return damage
        }

        private init(name: String, missing: [String], act: @escaping @Sendable (DriftScene) throws -> Void) {
            self.name = name
            self.missing = missing
            self.act = act
        }
    }

    private static let both: [Damage] = [
        .shell("ip rule del pref 100", "rule v4"),
        .shell("ip -6 rule del pref 100", "rule v6"),
        .shell("ip route flush table 133", "route v4"),
        .shell("ip route replace blackhole default table 133", "route v4"),
        .shell("ip -6 route flush table 133", "route v6"),
        .shell("sysctl -w net.ipv4.tcp_fwmark_accept=0", "sysctl net/ipv4/tcp_fwmark_accept = 1"),
        .shell("sysctl -w net.ipv4.fwmark_reflect=0", "sysctl net/ipv4/fwmark_reflect = 1"),
        .shell("sysctl -w net.ipv6.fwmark_reflect=0", "sysctl net/ipv6/fwmark_reflect = 1"),
        .shell("ss -K state listening sport = :15008", "listener 15008"),
    ]

    private static let rules: [Damage] = [
        .shell("nft delete table inet culvert", "ruleset"),
        .shell("nft flush chain inet culvert outbound", "unchanged ruleset"),
        .shell("nft flush chain inet culvert inbound", "unchanged ruleset"),
        .shell("nft flush chain inet culvert guard", "unchanged ruleset"),
        .shell("nft flush ruleset; ip rule del pref 100; ip -6 rule del pref 100", "ruleset", "rule v4", "rule v6"),
        .shell("sysctl -w net.ipv4.tcp_timestamps=1", "sysctl net/ipv4/tcp_timestamps = 2"),
        .shell("ss -K state listening sport = :15001", "listener 15001 v4", "listener 15001 v6"),
        .shell("ss -K state listening sport = :15006", "listener 15006"),
    ]

    private static func detached(_ pin: @escaping @Sendable (DriftScene) -> String)
        -> @Sendable (DriftScene) throws -> Void
    {
        { scene in try BPFLink.open(pin: pin(scene))?.detach() }
    }

    private static let sockets: [Damage] = [
        Damage("connect4 detached", "connect4 program", act: detached { $0.nodePins + "/connect4" }),
        Damage("connect6 detached", "connect6 program", act: detached { $0.nodePins + "/connect6" }),
        Damage("connect4's pin removed", "connect4 program") { unlink($0.nodePins + "/connect4") },
        Damage("lookup detached", "lookup program", act: detached { $0.podPins + "/lookup" }),
        Damage("lookup's pin removed", "lookup program") { unlink($0.podPins + "/lookup") },
        Damage("own addresses forgotten", "own addresses") { scene in
            _ = try withPinnedMap(scene.podPins + "/own_addresses", culvert_address.self, UInt32.self) {
                (map) throws(RedirectionError) in
                for key in try map.keys(blank: culvert_address()) { try map.remove(key) }
            }
        },
        Damage(
            "map of listeners unpinned", "map of listeners", "listener 15001 v4 in the map",
            "listener 15001 v6 in the map", "listener 15006 in the map"
        ) {
            unlink($0.podPins + "/listeners")
        },
        Damage("pod's entry removed", "capture of its connections") { scene in
            let cookie = try SocketCapture.cookie(of: scene.web.namespace)
            _ = try withPinnedMap(scene.nodePins + "/captured", UInt64.self, culvert_captured.self) {
                (map) throws(RedirectionError) in try map.remove(cookie)
            }
        },
        Damage("a hole made at connect", "exclusions of its connections") { scene in
            let cookie = try SocketCapture.cookie(of: scene.web.namespace)
            _ = try withPinnedMap(scene.nodePins + "/captured_policies", UInt64.self, culvert_policy.self) {
                (map) throws(RedirectionError) in
                var plan = RedirectionPlan()
                plan.exclusions.outboundPorts = [8080]
                try map.set(cookie, try culvert_policy(plan))
            }
        },
        Damage("map of pods unpinned", "capture of its connections") { unlink($0.nodePins + "/captured") },
        Damage("a listener taken out of the map", "listener 15006 in the map") { scene in
            _ = try withPinnedMap(scene.podPins + "/listeners", UInt32.self, UInt64.self) {
                (map) throws(RedirectionError) in try map.remove(2)
            }
        },
        .shell("ip route replace local default dev lo table 133", "route v4"),
        Damage(
            "everything unmounted", "connect4 program", "connect6 program", "lookup program",
            "capture of its connections", "own addresses", "map of listeners"
        ) { scene in
            _ = TestNetwork.shell("umount \(scene.directory.path)/bpf")
        },
    ]

    private static let guards: [Damage] = [
        Damage("guard from the pod detached", "guard from pod", act: detached { $0.guardPin("from") }),
        Damage("guard to the pod detached", "guard to pod", act: detached { $0.guardPin("to") }),
        Damage("guard's pin removed", "guard from pod") { unlink($0.guardPin("from")) },
        Damage("a hole made in the guard", "exclusions of the guard") { scene in
            let interface = try #require(scene.guardInterface)
            _ = try withPinnedMap(scene.nodePins + "/guard_policies", UInt32.self, culvert_policy.self) {
                (map) throws(RedirectionError) in
                var plan = RedirectionPlan()
                plan.exclusions.outboundPorts = [9]
                try map.set(interface, try culvert_policy(plan))
            }
        },
        Damage("the pod's addresses forgotten", "guarded address") { scene in
            _ = try withPinnedMap(scene.nodePins + "/enrolled", culvert_address.self, culvert_enrolled.self) {
                (map) throws(RedirectionError) in try map.remove(culvert_address(scene.web.v4))
            }
        },
    ]

    private static let filters: [Damage] = [
        Damage("the queueing discipline removed", "guard from pod", "guard to pod") { scene in
            _ = try scene.network.bridge.run { TestNetwork.shell("tc qdisc del dev host0 clsact") }
        },
        Damage("one filter removed", "guard to pod") { scene in
            _ = try scene.network.bridge.run { TestNetwork.shell("tc filter del dev host0 egress") }
        },
        Damage("the filters' pins removed", "guard from pod", "guard to pod") { scene in
            for direction in ["from", "to"] { unlink(scene.guardPin(direction)) }
        },
    ]

    @Test("of rules in the pod, and of the guard") func nft() async throws {
        try await run(.nft, .automatic, Self.both + Self.rules + Self.guards)
    }

    @Test("of capture at the socket, and of the guard") func ebpf() async throws {
        try await run(.ebpf, .automatic, Self.both + Self.sockets + Self.guards)
    }

    @Test("of the guard on a kernel without tcx") func filters() async throws {
        try await run(.nft, .filter, Self.filters)
    }

    @Test(
        "a pod whose proxy listens where another redirection would look is handed over again at once; one seen in order is left alone",
        arguments: [CaptureKind.ebpf, .nft])
    func listensElsewhere(_ backend: CaptureKind) async throws {
        let scene = try DriftScene(backend, .automatic)
        try #require(await scene.settle())
        // As when an agent begins to capture otherwise under a proxy that stays.
        switch backend {
        case .ebpf:
            _ = try withPinnedMap(scene.podPins + "/listeners", UInt32.self, UInt64.self) {
                (map) throws(RedirectionError) in
                for slot: UInt32 in 0..<3 { try map.remove(slot) }
            }
        case .nft: _ = try scene.web.shell("ss -K state listening sport = :15006")
        }
        var isAmiss: [Bool] = []
        for _ in 0..<2 { isAmiss.append(scene.enroller.confirmListeners()) }
        #expect(await scene.settle())
        isAmiss.append(scene.enroller.confirmListeners())
        #expect(isAmiss == [true, false, false])
        scene.enroller.verify()
        #expect(scene.enroller.drifts.parts(of: "web-uid").isEmpty)
        #expect(scene.enroller.plan.entries.values.allSatisfy { $0.phase == .enrolled })
        try await scene.leave()
    }

    @Test("a proxy outside its cgroup is given no pods, until it is there; and is cut off when it leaves")
    func proxyElsewhere() async throws {
        let directory = try ScratchDirectory()
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let cgroup = try Cgroup.root() + "/" + (directory.path.split(separator: "/").last ?? "culvert")
        let home = try #require(try Cgroup.path(of: getpid()))
        try #require(mkdir(cgroup, 0o755) == 0)
        defer {
            Self.move(to: home)
            rmdir(cgroup)
        }
        let identifier = try Cgroup.identifier(of: cgroup)
        let run = try AgentDirectory(path: directory.runDirectory)
        let socket = run.zdsSocket
        let handoff = try ZDSPodHandoff(socketPath: socket, logger: quiet) { pid in
            Cgroup.obstacle(toProxy: pid, in: cgroup, identifier: identifier)
        }
        try handoff.add(try pod("web-uid"), in: .current())
        let client = ZDSClient(path: socket, logger: quiet, add: { _, _, _ in }, delete: { _ in })
        await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await handoff.run() }
            tasks.addTask { await client.run() }
            defer { tasks.cancelAll() }
            #expect(await eventually { handoff.proxies.first?.refusal?.contains("--proxy-cgroup") == true })
            #expect(!handoff.isServed(uid: "web-uid"))
            Self.move(to: cgroup)
            #expect(await eventually { handoff.isServed(uid: "web-uid") })
            Self.move(to: home)
            #expect(await eventually { handoff.proxies.first?.refusal != nil && !handoff.isServed(uid: "web-uid") })
        }
    }

    /// This process.
    private static func move(to cgroup: String) {
        _ = TestNetwork.shell("echo \(getpid()) > \(cgroup)/cgroup.procs")
    }

    /// Within twenty seconds.
    private func eventually(_ isTrue: () -> Bool) async -> Bool {
        for _ in 0..<2000 {
            if isTrue() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    private func run(_ backend: CaptureKind, _ attachment: PodGuard.Attachment, _ damages: [Damage]) async throws {
        let scene = try DriftScene(backend, attachment)
        try #require(await scene.settle())
        #expect(try scene.plaintextSeen() == 0)
        for damage in damages {
            try damage.act(scene)
            #expect(try scene.plaintextSeen() == 0, "\(damage.name)")
            let before = scene.enroller.drifts.parts(of: "web-uid")
            scene.enroller.verify()
            let found = scene.enroller.drifts.parts(of: "web-uid").filter { $0.value > before[$0.key] ?? 0 }.keys
            for name in damage.missing {
                #expect(found.contains { $0.hasPrefix(name) }, "\(damage.name): \(found.sorted())")
            }
            #expect(await scene.settle(), "\(damage.name)")
            scene.enroller.verify()
            if scene.enroller.plan.entries["web-uid"]?.phase != .enrolled {
                // A new map has no listeners yet: those are seen when the map is there again.
                #expect(await scene.settle())
                scene.enroller.verify()
            }
            #expect(scene.enroller.plan.entries["web-uid"]?.phase == .enrolled, "\(damage.name)")
        }
        // What is seen here is what the taps do see when nothing is in the way.
        try await scene.leave()
        #expect(try scene.plaintextSeen() > 0)
    }
}

extension DriftScene {
    /// The node's end of the pod's veth.
    var guardInterface: UInt32? {
        PinDirectory(unchecked: pins).pins(ofPod: "web-uid").compactMap(GuardAttachment.init).first?.interface
    }

    /// Of the guard in one direction, `from` or `to`.
    func guardPin(_ direction: String) -> String {
        let names = PinDirectory(unchecked: pins).pins(ofPod: "web-uid")
        return podPins + "/" + (names.first { GuardAttachment(name: $0)?.direction.text == direction } ?? "none")
    }
}
