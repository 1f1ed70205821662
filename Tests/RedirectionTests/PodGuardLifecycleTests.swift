import CLibBPF
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let reason: Comment = "needs root: attaches programs to its own veths"
private let attachments = [PodGuard.Attachment.automatic, .filter]

@Suite("Pod guard: coming, staying and going", .enabled(if: GuardFixture.isPossible, reason))
struct PodGuardLifecycleTests {
    /// Sends one segment of plaintext, and answers whether it arrived.
    private func leaks(_ fixture: GuardFixture, _ text: String) throws -> Bool {
        let (source, sink) = (try FrameSocket(fixture.a.namespace), try FrameSocket(fixture.b.namespace))
        try source.send(.v4(from: fixture.a.v4, to: fixture.b.v4, TestFrame.segment(4000, 80, text)))
        try source.send(.v4(from: fixture.a.v4, to: fixture.b.v4, protocol: 17, TestFrame.datagram(1, 2, "behind")))
        guard eventually({ sink.saw("behind") }) else {
            throw Errno(code: ETIMEDOUT, call: "wait for the frame behind")
        }
        return sink.saw(text)
    }

    @Test("in a container, where a BPF file system would end with it, there is no guard rather than one for a while")
    func contained() throws {
        #expect(!PinDirectory.isContained(root: "/", machine: "/"))
        #expect(PinDirectory.isContained(root: "/", machine: "/proc"))
        // The machine's processes are not to be seen: nobody can tell.
        #expect(!PinDirectory.isContained(root: "/", machine: "/proc/none"))
        let directory = try TestNetwork.makeDirectory("contained")
        defer { rmdir(directory) }
        #expect(throws: RedirectionError.noFileSystem(directory + "/bpf")) {
            _ = try PinDirectory(directory + "/bpf/culvert", isContained: true)
        }
        #expect(TestNetwork.shell("ls \(directory)") == "")
    }

    @Test("leaves no trace, however often it comes and goes", arguments: attachments)
    func noTrace(_ attachment: PodGuard.Attachment) throws {
        let fixture = try GuardFixture()
        let before = try fixture.trace()
        let podGuard = try fixture.guarded(.enforce, attachment)
        #expect(try podGuard.state(of: "pod-a", in: fixture.a.namespace) == .complete)
        #expect(try !leaks(fixture, "canary-1"))
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace)
        #expect(try !leaks(fixture, "canary-2"))
        #expect(podGuard.pods == ["pod-a", "pod-b"])
        for uid in ["pod-a", "pod-b", "pod-b", "unknown"] { try podGuard.detach(pod: uid) }
        #expect(try podGuard.state(of: "pod-a", in: fixture.a.namespace) == .absent)
        #expect(try leaks(fixture, "canary-3"))
        #expect(try podGuard.enrolledAddresses() == [fixture.a.v4, fixture.a.v6, fixture.b.v4, fixture.b.v6])
        podGuard.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test("stands without the agent; the next one takes it over in place, with its counts", arguments: attachments)
    func adoption(_ attachment: PodGuard.Attachment) throws {
        let fixture = try GuardFixture()
        var first: PodGuard? = try fixture.guarded(.enforce, attachment)
        #expect(try !leaks(fixture, "canary-1"))
        let counted = try #require(try first?.packets("pod-a", .fromPod, .plaintext))
        let programs = try attached(fixture)
        first = nil
        #expect(try !leaks(fixture, "canary-2"))

        let second = try fixture.makeGuard(.enforce, attachment)
        #expect(try second.packets("pod-a", .fromPod, .plaintext) == counted + 1)
        #expect(try second.state(of: "pod-a", in: fixture.a.namespace) == .complete)
        for (uid, host) in [("pod-a", fixture.a), ("pod-b", fixture.b)] {
            try second.attach(pod: uid, in: host.namespace)
        }
        let renewed = try attached(fixture)
        #expect(renewed.map(\.place) == programs.map(\.place))
        #expect(Set(renewed.map(\.program)).isDisjoint(with: programs.map(\.program)))
        #expect(try !leaks(fixture, "canary-3"))
        #expect(try second.packets("pod-a", .fromPod, .plaintext) == counted + 2)

        // Another mode is another program in the same place.
        let third = try fixture.makeGuard(.audit, attachment)
        #expect(
            try third.state(of: "pod-a", in: fixture.a.namespace)
                == .partial(
                    try HostEnd.all(of: fixture.a.namespace, in: fixture.network.bridge).flatMap { end in
                        ["from", "to"].map { "guard \($0) pod on interface \(end.interface)" }
                    }))
        for (uid, host) in [("pod-a", fixture.a), ("pod-b", fixture.b)] {
            try third.attach(pod: uid, in: host.namespace)
        }
        #expect(try attached(fixture).map(\.place) == programs.map(\.place))
        #expect(try leaks(fixture, "canary-4"))
    }

    /// Every guard by its place, with the link's number where it has one, and the program that runs.
    private func attached(_ fixture: GuardFixture) throws -> [(place: String, program: UInt32)] {
        let pins = try #require(PinDirectory(existing: fixture.pins))
        return try ["pod-a", "pod-b"].flatMap { uid in
            try pins.pins(ofPod: uid).map { name in
                let path = pins.directory(ofPod: uid) + "/" + name
                let attachment = try #require(GuardAttachment(name: name))
                let program = try fixture.network.bridge.entered { () throws(RedirectionError) in
                    try attachment.program(pin: path)
                }
                var link = ""
                if attachment.means == .tcx { link = "\(try BPFLink.open(pin: path)?.description().id ?? 0)" }
                return ("\(uid) \(name) \(link)", try #require(program).id)
            }
        }
    }

    @Test("what is missing is seen, and put back", arguments: attachments)
    func drift(_ attachment: PodGuard.Attachment) throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded(.enforce, attachment)
        let pins = try #require(PinDirectory(existing: fixture.pins))
        let name = try #require(pins.pins(ofPod: "pod-a").first { $0.hasSuffix("from") })
        // As after `rm`, or a kill between two steps.
        let path = pins.directory(ofPod: "pod-a") + "/" + name
        try fixture.network.bridge.entered { () throws(RedirectionError) in
            try GuardAttachment(name: name)?.detach(pin: path)
        }
        guard case .partial(let missing) = try podGuard.state(of: "pod-a", in: fixture.a.namespace) else {
            Issue.record("a missing guard was not seen")
            return
        }
        #expect(missing.count == 1 && missing[0].hasPrefix("guard from pod"))
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace)
        #expect(try podGuard.state(of: "pod-a", in: fixture.a.namespace) == .complete)
        try podGuard.detach(pod: "pod-a")
        #expect(podGuard.pods == ["pod-b"])
    }

    @Test("the filters and hooks of others stay as they are")
    func others() throws {
        let fixture = try GuardFixture()
        try fixture.network.bridge.run {
            #expect(
                TestNetwork.shell(
                    """
                    (tc qdisc add dev host0 clsact; tc filter add dev host0 ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1; \
                    tc qdisc add dev host1 clsact) 2>&1
                    """) == "")
        }
        let before = try fixture.trace()
        #expect(before.contains("pref 7") && before.contains("clsact"))
        let podGuard = try fixture.guarded(.enforce, .filter)
        #expect(try !leaks(fixture, "canary-1"))
        for uid in ["pod-a", "pod-b"] { try podGuard.detach(pod: uid) }
        podGuard.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test("a hook that others began to use meanwhile is left to them")
    func sharedHook() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded(.enforce, .filter)
        try fixture.network.bridge.run {
            #expect(
                TestNetwork.shell("tc filter add dev host0 egress pref 7 protocol ip u32 match u32 0 0 flowid 1:1 2>&1")
                    == "")
        }
        try podGuard.detach(pod: "pod-a")
        #expect(try fixture.trace().contains("pref 7"))
    }

    @Test("what is left of a pod whose interfaces are gone is cleared away", arguments: attachments)
    func interfaceGone(_ attachment: PodGuard.Attachment) throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded(.enforce, attachment)
        #expect(try fixture.network.bridge.run { try RouteSocket().deleteLink("host0") })
        #expect(throws: RedirectionError.noHostEnd([])) { try podGuard.attach(pod: "pod-a", in: fixture.a.namespace) }
        try podGuard.detach(pod: "pod-a")
        #expect(podGuard.pods == ["pod-b"])
        #expect(try podGuard.state(of: "pod-b", in: fixture.b.namespace) == .complete)
    }

    @Test("a pod without a veth to this node is refused by name")
    func nowhere() throws {
        let fixture = try GuardFixture()
        let elsewhere = try NetworkNamespace.make()
        try elsewhere.run {
            #expect(
                TestNetwork.shell(
                    "ip link add d0 type bridge 2>&1; ip link set d0 up; ip link add v0 type veth peer v1")
                    == "")
            _ = TestNetwork.shell("ip link set v0 up")
        }
        let podGuard = try fixture.makeGuard()
        #expect(throws: RedirectionError.noHostEnd(["d0 (bridge)", "v0 (veth)"])) {
            try podGuard.attach(pod: "pod-x", in: elsewhere)
        }
        #expect(podGuard.pods.isEmpty)
    }

    @Test("published addresses replace those before; a pod's own stay as long as it has its guard")
    func addresses() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.makeGuard()
        let other = try #require(IPAddress("10.9.9.9"))
        try podGuard.publish([other, fixture.a.v4])
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace)
        #expect(try podGuard.enrolledAddresses() == [other, fixture.a.v4, fixture.a.v6])
        try podGuard.publish([])
        #expect(try podGuard.enrolledAddresses() == [fixture.a.v4, fixture.a.v6])
        try podGuard.detach(pod: "pod-a")
        #expect(try podGuard.enrolledAddresses().isEmpty)
    }

    @Test("a UID with dots has a directory of its own")
    func dots() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.makeGuard()
        try podGuard.attach(pod: "a.b-c_d", in: fixture.a.namespace)
        #expect(podGuard.pods == ["a.b-c_d"])
        #expect(try podGuard.state(of: "a.b-c_d", in: fixture.a.namespace) == .complete)
        try podGuard.detach(pod: "a.b-c_d")
        #expect(podGuard.pods.isEmpty)
    }
}
