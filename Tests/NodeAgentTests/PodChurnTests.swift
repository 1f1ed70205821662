import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

/// Pods come and go, move, and take each other's addresses: rows F5, F23, F27 and F28 of the capture checklist.
@Suite(
    "Pods that come and go", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: EnrolmentFixture.isPossible, "needs root and nft: makes network namespaces"))
struct PodChurnTests {
    /// CULVERT_CHURN asks for more.
    private static let enrolments = getenv("CULVERT_CHURN").flatMap { Int(String(cString: $0)) } ?? 30

    @Test(
        "F23: pods without end leave no descriptor, pin, program, map entry or record, however they went",
        arguments: Backend.allCases)
    func churn(_ backend: Backend) throws {
        let fixture = try EnrolmentFixture(backend)
        let node = try fixture.node()
        for directory in [node.runDirectory, node.runDirectory + "/pods"] { mkdir(directory, 0o700) }
        let capture = try node.capture()
        let podGuard = try node.podGuard()
        let redirector = try node.redirector(capture, podGuard)
        func enrol(_ uid: String, _ namespace: NetworkNamespace) throws {
            let plan = RedirectionPlan()
            try redirector.record(uid: uid, netns: fixture.directory.netns, in: namespace, plan: plan)
            _ = try redirector.install(uid: uid, netns: fixture.directory.netns, in: namespace, plan: plan)
            _ = try redirector.resetConnections(uid: uid, in: namespace, plan: plan)
        }
        func left() throws -> [String] {
            let text = TestNetwork.shell(
                "find \(fixture.pins) -mindepth 1 -printf '%P\\n' | sort; ls \(node.runDirectory)/pods")
            return try text.split(separator: "\n").map(String.init)
                + podGuard.enrolledAddresses().map { "\($0) enrolled" }
        }
        try enrol("first", fixture.web.namespace)
        try redirector.remove(uid: "first", from: fixture.web.namespace)
        let (before, descriptors) = (try left(), Self.descriptors)
        var pinned: [PinnedObjects] = []
        for number in 0..<Self.enrolments {
            // A name of its own for each, in a namespace that others had before, or in one that nobody will have again.
            let uid = "pod-\(number)"
            guard number % 10 == 9 else {
                try enrol(uid, fixture.web.namespace)
                if number % 10 == 5 { pinned.append(PinnedObjects(below: fixture.pins + "/v1/pods/\(uid)")) }
                try redirector.remove(uid: uid, from: fixture.web.namespace)
                continue
            }
            do { try enrol(uid, try fixture.makeNamespace(end: "other")) }
            try redirector.remove(uid: uid, from: nil)
        }
        #expect(try left() == before)
        // Those of tests before this one may go meanwhile.
        #expect(eventuallyNow { Self.descriptors <= descriptors })
        for objects in pinned { #expect(eventuallyNow { objects.alive == [] }, "\(objects.alive)") }
        try capture?.removeIfUnused()
        podGuard.removeIfUnused()
    }

    /// How many this process has.
    private static var descriptors: Int {
        TestNetwork.shell("ls /proc/\(getpid())/fd | wc -l").split(separator: "\n").first.flatMap { Int($0) } ?? -1
    }

    private func eventuallyNow(_ isTrue: () -> Bool) -> Bool {
        for _ in 0..<1000 {
            if isTrue() { return true }
            usleep(10_000)
        }
        return false
    }

    @Test(
        "F5: a pod whose sandbox was killed is enrolled in its new namespace, and nothing of the old one stays",
        arguments: Backend.allCases)
    func sandbox(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let next = try fixture.makeNamespace(end: "next")
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            let old = PinnedObjects(below: fixture.pins + "/v1/pods/web-uid")
            unlink(fixture.directory.netns)
            symlink("/proc/\(getpid())/fd/\(next.descriptor)", fixture.directory.netns)
            #expect(await eventually { isClosed(next) })
            #expect(await eventually { fixture.isEnrolled(agent) })
            #expect(await eventually { old.alive == [] })
            #expect(!isClosed(fixture.web.namespace))
        }
        #expect(!isClosed(next))
    }

    @Test(
        "F28: an address that another pod takes over at once is captured for the one that is enrolled, and not for the other",
        arguments: Backend.allCases)
    func address(_ backend: Backend) throws {
        let fixture = try EnrolmentFixture(backend)
        let node = try fixture.node()
        for directory in [node.runDirectory, node.runDirectory + "/pods"] { mkdir(directory, 0o700) }
        let (capture, podGuard) = (try node.capture(), try node.podGuard())
        let redirector = try node.redirector(capture, podGuard)
        func enrol(_ uid: String, _ namespace: NetworkNamespace) throws {
            let plan = RedirectionPlan()
            try redirector.record(uid: uid, netns: fixture.directory.netns, in: namespace, plan: plan)
            _ = try redirector.install(uid: uid, netns: fixture.directory.netns, in: namespace, plan: plan)
        }
        try enrol("old", fixture.web.namespace)
        let next = try fixture.makeNamespace(end: "next")
        #expect(isClosed(fixture.web.namespace) && !isClosed(next))
        try enrol("new", next)
        #expect(isClosed(next))
        // Nobody tells the agent of the old one's end before.
        try redirector.remove(uid: "old", from: nil)
        #expect(isClosed(next))
        #expect(try podGuard.state(of: "new", in: next) == .complete)
        #expect(try podGuard.enrolledAddresses() == [fixture.web.v4, fixture.web.v6])
        try redirector.remove(uid: "new", from: next)
        #expect(!isClosed(next))
        #expect(try podGuard.enrolledAddresses() == [])
        try capture?.removeIfUnused()
        podGuard.removeIfUnused()
    }

    @Test("F27: an agent that does not know the cluster yet prunes nothing", arguments: Backend.allCases)
    func unknownCluster(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        fixture.write(isEnrolled: true)
        try await fixture.withAgent(isCancelled: true) { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
        }
        let enrolled = try fixture.inventory()
        let records = fixture.directory.records
        // No file, and one that is not whole.
        for text in [nil, "trustDomain: culvert.demo\nnamespaces:\n  - nam"] as [String?] {
            unlink(fixture.directory.mesh)
            if let text { _ = TestNetwork.shell("printf '\(text)' > \(fixture.directory.mesh)") }
            let log = LogLines()
            try await fixture.withAgent(onExit: .leave, logger: log.logger) { agent in
                #expect(await eventually { log.has("Mesh file refused; waiting for a sound one") })
                #expect(agent.podPhases.isEmpty)
            }
            #expect(fixture.directory.records == records)
            try await fixture.expectInventory(enrolled)
        }
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in #expect(await eventually { fixture.isEnrolled(agent) }) }
    }

    /// Whether connections out of the pod are captured, with nobody there to take them.
    private func isClosed(_ namespace: NetworkNamespace) -> Bool {
        do {
            _ = try namespace.run {
                try TestConnection.connect(to: SocketAddress(IPAddress(v4: 0xc633_6401), port: 9), milliseconds: 50)
            }.raw
            return false
        } catch {
            return (error as? Errno)?.code == ECONNREFUSED
        }
    }
}
