import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

/// Invariant I6: un-enrolment leaves no trace, and the second enrolment is as the first.
@Suite(
    "Enrolment without a trace", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: EnrolmentFixture.isPossible, "needs root and nft: makes network namespaces"))
struct TracelessEnrolmentTests {
    @Test(
        "pods, the host's ends of their veths and the node are byte for byte what they were, twice; the enrolments are alike",
        arguments: Backend.allCases)
    func identical(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        // Applications' sockets stay through all of it.
        let listener = try fixture.web.listener(8080)
        let inside = try fixture.web.namespace.run {
            try TestConnection.connect(to: SocketAddress(.loopback(.v4), port: 8080))
        }
        let accepted = try TestConnection.accept(listener)
        let before = try fixture.inventory(isThorough: true)
        var enrolled: [String] = []
        for _ in 0..<2 {
            fixture.write(isEnrolled: true)
            var pinned: PinnedObjects?
            try await fixture.withAgent { agent in
                #expect(await eventually { fixture.isEnrolled(agent) })
                enrolled.append(try fixture.inventory(isThorough: true))
                pinned = PinnedObjects(below: fixture.pins)
                #expect(pinned?.isEmpty == false)
                fixture.write(isEnrolled: false)
                #expect(await eventually { agent.podPhases.isEmpty && fixture.directory.records.isEmpty })
                // What the next enrolment needs may stay on the node as long as its agent; nothing in or at the pods.
                let pods = try fixture.network.hosts.map { try NamespaceInventory.text(of: $0.namespace) }
                #expect(before.hasPrefix(pods.joined(separator: "\n")))
            }
            try await fixture.expectInventory(before, isThorough: true)
            #expect(await eventually { pinned?.alive == [] })
        }
        #expect(enrolled[0] == enrolled[1])
        #expect(enrolled[0] != before)
        try TestConnection.send("still", over: inside)
        #expect(try TestConnection.receive(from: accepted) == "still")
    }

    @Test(
        "settings that somebody had set otherwise, rules, routes and filters of others are kept",
        arguments: Backend.allCases)
    func others(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let theirs = try fixture.web.shell(
            """
            sysctl -qw net.ipv4.tcp_timestamps=0 net.ipv4.fwmark_reflect=1 && ip rule add fwmark 0x7 lookup 50 pref 99 &&
            ip route add 192.0.2.0/24 dev eth0 table 50 && ip -6 rule add fwmark 0x53a lookup 51 pref 101 &&
            nft 'add table inet cni; add chain inet cni out { type filter hook output priority 0; }; add rule inet cni out counter' &&
            tc qdisc replace dev eth0 root pfifo limit 77
            """)
        #expect(theirs == "")
        let rules = try fixture.network.bridge.run {
            TestNetwork.shell(
                """
                (tc qdisc add dev host0 clsact && tc filter add dev host0 ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1) 2>&1
                """)
        }
        #expect(rules == "")
        func quiet() throws -> String {
            // The counter counts, and the filter's age is told.
            try fixture.inventory(isThorough: true).split(separator: "\n").filter { !$0.contains("counter packets") }
                .joined(separator: "\n")
        }
        let before = try quiet()
        fixture.write(isEnrolled: true)
        try await fixture.withAgent { agent in #expect(await eventually { fixture.isEnrolled(agent) }) }
        let after = try quiet()
        let difference = after.split(separator: "\n").difference(from: before.split(separator: "\n"))
        #expect(difference.map { "\($0)" } == [])
    }

    @Test(
        "a pod whose agent was killed and whose namespace is gone leaves nothing on the node",
        arguments: Backend.allCases)
    func gone(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        fixture.write(isEnrolled: true)
        try await fixture.withAgent(isCancelled: true) { agent in
            #expect(await eventually { fixture.isEnrolled(agent) })
        }
        let pinned = PinnedObjects(below: fixture.pins)
        fixture.write(isEnrolled: false)
        unlink(fixture.directory.netns)
        try await fixture.withAgent { _ in #expect(await eventually { fixture.directory.records.isEmpty }) }
        #expect(await eventually { pinned.alive == [] })
        #expect(TestNetwork.shell("find \(fixture.directory.path)/bpf -mindepth 1 2>/dev/null") == "")
    }
}
