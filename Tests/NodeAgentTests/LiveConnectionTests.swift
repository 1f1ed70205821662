import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

/// Rows F7 and F8 of the capture checklist, as far as the agent is concerned.
@Suite(
    "Enrolment with live connections", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: EnrolmentFixture.isPossible, "needs root and nft: makes network namespaces"))
struct LiveConnectionTests {
    /// Each has both its ends here.
    private static let count = min(5_000, (Int(DescriptorLimit.raise()) - 1_000) / 4)

    @Test(
        "F7: a late label ends thousands of connections, both ways, and counts them; the next ones are captured",
        arguments: Backend.allCases)
    func lateLabel(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let out = try PodConnections(
            Self.count, from: fixture.web, to: SocketAddress(fixture.peer.v4, port: 8080), at: fixture.peer)
        let into = try PodConnections(
            Self.count, from: fixture.peer, to: SocketAddress(fixture.web.v6, port: 8080), at: fixture.web)
        let log = LogLines()
        fixture.write(isEnrolled: true)
        try await fixture.withAgent(logger: log.logger) { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            // Each of them has one end in each pod, and goes with the pod that is enrolled first.
            #expect(out.ended == 2 * Self.count && into.ended == 2 * Self.count)
            let counts = log.values(of: "connectionsReset", in: "Pod enrolled").compactMap { Int($0) }
            #expect(counts.reduce(0, +) >= 2 * Self.count)
            #expect(throws: Errno.self) {
                _ = try fixture.web.namespace.run {
                    try TestConnection.connect(to: fixture.service, milliseconds: 500)
                }.raw
            }
        }
    }

    @Test(
        "F8: without its label, a pod's new connections are its own at once, and those through the proxy go on until they end",
        arguments: Backend.allCases)
    func drained(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let before = try fixture.inventory()
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            var carried: [ProxiedConnection] = try proxied(fixture)
            let listener = try fixture.peer.listener(8080)
            fixture.write(isEnrolled: false)
            #expect(await eventually { agent.podPhases["web-uid"]?.isDraining == true })
            let direct = try fixture.web.namespace.run { try TestConnection.connect(to: fixture.service) }
            let server = try TestConnection.accept(listener)
            try TestConnection.send("direct", over: direct)
            #expect(try TestConnection.receive(from: server) == "direct")
            let tap = try PlaintextTap(fixture)
            for connection in carried { #expect(try connection.carries("still")) }
            #expect(tap.bytes == 0 && tap.isSound)
            #expect(agent.podPhases["web-uid"]?.isDraining == true)
            carried = []
            #expect(await eventually { agent.podPhases.isEmpty && fixture.directory.records.isEmpty })
            try TestConnection.send("later", over: direct)
            #expect(try TestConnection.receive(from: server) == "later")
        }
        try await fixture.expectInventory(before)
    }

    @Test(
        "F8: at the deadline what is left through the proxy is reset, and says nothing outside on its way",
        arguments: Backend.allCases)
    func deadline(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let before = try fixture.inventory()
        fixture.write(isEnrolled: true)
        try await fixture.withAgent(drainTimeout: .milliseconds(300)) { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            let carried = try proxied(fixture)
            let tap = try PlaintextTap(fixture)
            fixture.write(isEnrolled: false)
            #expect(await eventually { agent.podPhases.isEmpty && fixture.directory.records.isEmpty })
            for connection in carried { #expect(connection.isReset) }
            #expect(tap.bytes == 0 && tap.isSound)
        }
        try await fixture.expectInventory(before)
    }

    @Test("what a proxy left half open says nothing outside, once its pod is taken out", arguments: Backend.allCases)
    func abandoned(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            let carried = try proxied(fixture)
            for connection in carried { try connection.abandon(fixture) }
            let proxys = "ss -Hnat state connected | grep -c -e ':15001' -e 'FIN-WAIT'"
            #expect(await eventually { (try? fixture.web.shell(proxys)) == "0\n" })
            let tap = try PlaintextTap(fixture)
            fixture.write(isEnrolled: false)
            #expect(await eventually { agent.podPhases.isEmpty && fixture.directory.records.isEmpty })
            for connection in carried { connection.talk("too late") }
            // What follows it arrives, so it would have, too.
            let listener = try fixture.peer.listener(9999)
            _ = try fixture.web.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.peer.v4, port: 9999))
            }.raw
            _ = try TestConnection.accept(listener).raw
            #expect(tap.bytes == 0 && tap.isSound)
        }
    }

    @Test(
        "F30: a pod that is about to end is captured as long as it is there, and then forgotten",
        arguments: Backend.allCases)
    func terminating(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
            let carried = try proxied(fixture)
            // Its path goes first, its processes may still run.
            unlink(fixture.directory.netns)
            let tap = try PlaintextTap(fixture)
            for connection in carried {
                #expect(try connection.carries("last words"))
                #expect(try connection.isFollowed(fixture))
            }
            #expect(tap.bytes == 0 && tap.isSound)
            #expect(agent.podPhases["web-uid"] == .enrolled)
            // Then the cluster does not know it any more.
            fixture.write(isEnrolled: false)
            unlink(fixture.directory.netns)
            #expect(await eventually { agent.podPhases["web-uid"]?.isDraining == true })
            for connection in carried { #expect(try connection.carries("the very last")) }
        }
    }

    /// One connection out of `web`, as its proxy has it.
    private func proxied(_ fixture: EnrolmentFixture) throws -> [ProxiedConnection] {
        [try ProxiedConnection(fixture, .v4), try ProxiedConnection(fixture, .v6)]
    }
}

extension EnrolmentPlan.Phase {
    fileprivate var isDraining: Bool {
        if case .draining = self { true } else { false }
    }
}
