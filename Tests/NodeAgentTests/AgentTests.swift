import LinuxNetworking
import Logging
import ServiceLifecycle
import Testing

@testable import NodeAgent

/// The agent among stand-ins that keep a journal: what is done, and in which order.
@Suite("Agent", .timeLimit(.minutes(1)))
struct AgentTests {
    private let journal: Journal
    private let source: ScriptedSource

    private func redirector(recorded: [PodRecord] = []) -> ScriptedRedirector {
        ScriptedRedirector(journal, recorded: recorded)
    }

    /// Runs an agent while `body` runs, then shuts it down gracefully.
    private func withAgent(
        _ redirector: ScriptedRedirector, _ namespaces: ScriptedNamespaces, onExit: Agent.OnExit = .leave,
        verificationInterval: Duration = .seconds(5), drainTimeout: Duration = .seconds(30),
        _ body: (Agent) async throws -> Void
    ) async throws {
        let agent = Agent(
            node: "node-a", source: source, namespaces: namespaces, redirector: redirector,
            handoff: JournalledHandoff(journal: journal), publisher: JournalledPublisher(journal: journal),
            verificationInterval: verificationInterval, drainTimeout: drainTimeout, onExit: onExit, logger: quietLogger)
        try await agent.running(body)
    }

    @Test("publishes, redirects, resets connections and hands over, in this order; serves proxies only then")
    func order() async throws {
        try await withAgent(redirector(), ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("web"), pod("plain", namespace: "open"), pod("far", node: "node-b")))
            #expect(await journal.waits(for: "serve pods"))
            #expect(agent.podPhases == ["web": .enrolled])
        }
        #expect(
            journal.lines == [
                "publish far:hbone plain web:hbone", "install web", "reset web", "add web as default", "serve pods",
            ])
    }

    @Test("follows pods and labels as they change, and lets new connections pass the proxy before it loses the pod")
    func changes() async throws {
        try await withAgent(redirector(), ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "add web as default"))
            source.deliver(try cluster(pod("web"), pod("db")))
            #expect(await journal.waits(for: "add db as default"))
            source.deliver(try cluster(pod("web", namespace: "open"), pod("db")))
            #expect(await journal.waits(for: "remove web"))
        }
        let withdrawal = journal.lines.drop { $0 != "release web" }
        #expect(Array(withdrawal.prefix(3)) == ["release web", "delete web", "remove web"])
        #expect(journal.lines.count { $0 == "install db" } == 1)
    }

    @Test("installs again what somebody has changed, and leaves the others alone")
    func drift() async throws {
        let redirector = redirector()
        try await withAgent(redirector, ScriptedNamespaces(), verificationInterval: .milliseconds(1)) { agent in
            source.deliver(try cluster(pod("web"), pod("db")))
            #expect(await journal.waits(for: "add db as default"))
            redirector.drift("web", ["ruleset"])
            #expect(await journal.waits(for: "install web", count: 2))
            #expect(await journal.waits(for: "add web as default", count: 2))
            #expect(agent.podPhases["web"] == .enrolled)
        }
        #expect(journal.lines.count { $0 == "install db" } == 1)
        #expect(journal.lines.count { $0 == "reset web" } == 1)
    }

    @Test("tries a failing pod again without holding up the others")
    func failures() async throws {
        let redirector = redirector()
        redirector.fail("install", "bad", "nft: table is busy")
        try await withAgent(redirector, ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("bad"), pod("web")))
            #expect(await journal.waits(for: "add web as default"))
            #expect(await journal.waits(for: "install bad fails", count: 2))
            #expect(agent.podPhases["bad"]?.reason == "nft: table is busy")
            redirector.fail("install", "bad", nil)
            #expect(await journal.waits(for: "add bad as default"))
        }
    }

    @Test("does not hand over a pod whose old connections it could not reset, and resets them when it tries again")
    func resetFails() async throws {
        let redirector = redirector()
        redirector.fail("reset", "web", "not permitted")
        try await withAgent(redirector, ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "reset web fails"))
            #expect(!journal.lines.contains("add web as default"))
            redirector.fail("reset", "web", nil)
            #expect(await journal.waits(for: "add web as default"))
            #expect(journal.lines.contains("reset web"))
        }
    }

    @Test("refuses a namespace that holds none of the pod's addresses")
    func foreignNamespace() async throws {
        try await withAgent(redirector(), ScriptedNamespaces(holding: "10.0.0.9")) { agent in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "serve pods"))
            #expect(
                agent.podPhases["web"]?.reason
                    == "/run/netns/web is not this pod's: expected one of 10.0.0.1, got 10.0.0.9")
        }
        #expect(!journal.lines.contains("install web"))
    }

    @Test("waits for a namespace that is not there yet")
    func lateNamespace() async throws {
        let namespaces = try ScriptedNamespaces()
        namespaces.vanish("/run/netns/web")
        try await withAgent(redirector(), namespaces) { agent in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "serve pods"))
            #expect(agent.podPhases["web"]?.reason == "no namespace at /run/netns/web")
            namespaces.appear("/run/netns/web")
            #expect(await journal.waits(for: "add web as default"))
        }
    }

    @Test("adopts what an earlier agent left without resetting connections, and clears away what is not wanted")
    func adoption() async throws {
        let here = NamespaceID(try NetworkNamespace.current())
        let records = [
            PodRecord(uid: "web", netns: "/run/netns/web", namespace: here),
            PodRecord(uid: "old", netns: "/run/netns/old", namespace: here),
            PodRecord(uid: "dead", netns: "/run/netns/dead", namespace: namespaceID(1)),
        ]
        try await withAgent(redirector(recorded: records), ScriptedNamespaces()) { _ in
            #expect(journal.lines.isEmpty)
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "serve pods"))
        }
        #expect(
            journal.lines == [
                "publish web:hbone", "delete dead", "forget dead", "release old", "delete old", "remove old",
                "install web",
                "add web as default", "serve pods",
            ])
    }

    @Test(
        "a pod that the proxy still has connections of keeps its redirection until they have ended; others do not wait")
    func draining() async throws {
        let redirector = redirector()
        redirector.proxied("web", 3)
        try await withAgent(redirector, ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("web"), pod("db")))
            #expect(await journal.waits(for: "add db as default"))
            source.deliver(try cluster(pod("web", namespace: "open"), pod("db", namespace: "open")))
            #expect(await journal.waits(for: "remove db"))
            #expect(await journal.waits(for: "delete web"))
            #expect(!journal.lines.contains("remove web"))
            redirector.proxied("web", 0)
            #expect(await journal.waits(for: "remove web"))
        }
        #expect(journal.lines.count { $0 == "release web" } == 1)
    }

    @Test("a drain ends at its deadline, also when the agent itself ends")
    func drainDeadline() async throws {
        for onExit in [Agent.OnExit.leave, .remove] {
            let journal = Journal()
            let test = AgentTests(journal: journal, source: ScriptedSource())
            let redirector = ScriptedRedirector(journal)
            redirector.proxied("web", 3)
            try await test.withAgent(
                redirector, ScriptedNamespaces(), onExit: onExit, drainTimeout: .milliseconds(50)
            ) { _ in
                test.source.deliver(try cluster(pod("web")))
                #expect(await journal.waits(for: "serve pods"))
                if onExit == .remove { return }
                test.source.deliver(try cluster())
                #expect(await journal.waits(for: "remove web"))
            }
            #expect(journal.lines.contains("remove web"))
        }
    }

    @Test("a pod whose label comes back while it drains is closed again, and its direct connections are reset")
    func drainCancelled() async throws {
        let redirector = redirector()
        redirector.proxied("web", 1)
        try await withAgent(redirector, ScriptedNamespaces()) { agent in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "add web as default"))
            source.deliver(try cluster(pod("web", namespace: "open")))
            #expect(await journal.waits(for: "delete web"))
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "add web as default", count: 2))
            #expect(agent.podPhases == ["web": .enrolled])
        }
        #expect(journal.lines.count { $0 == "reset web" } == 2)
        #expect(!journal.lines.contains("remove web"))
    }

    @Test("takes a pod back before it hands it over under another identity")
    func identityChange() async throws {
        try await withAgent(redirector(), ScriptedNamespaces()) { _ in
            source.deliver(try cluster(pod("web")))
            #expect(await journal.waits(for: "add web as default"))
            source.deliver(try cluster(pod("web", serviceAccount: "other")))
            #expect(await journal.waits(for: "add web as other"))
        }
        #expect(journal.lines.suffix(4) == ["install web", "delete web", "settle", "add web as other"])
        #expect(!journal.lines.contains("remove web"))
    }

    @Test("leaves the redirection at shutdown, or removes every trace, as it is told")
    func exit() async throws {
        for (onExit, end) in [
            (Agent.OnExit.leave, []), (.remove, ["release web", "delete web", "remove web", "settle"]),
        ] {
            let journal = Journal()
            let test = AgentTests(journal: journal, source: ScriptedSource())
            try await test.withAgent(ScriptedRedirector(journal), ScriptedNamespaces(), onExit: onExit) { _ in
                test.source.deliver(try cluster(pod("web")))
                #expect(await journal.waits(for: "serve pods"))
            }
            let after = journal.lines.drop { $0 != "serve pods" }.dropFirst()
            #expect(Array(after) == end)
        }
    }

    @Test("removes what an earlier agent left even when it never learnt of the cluster")
    func exitWithoutState() async throws {
        let record = PodRecord(
            uid: "web", netns: "/run/netns/web", namespace: NamespaceID(try NetworkNamespace.current()))
        try await withAgent(redirector(recorded: [record]), ScriptedNamespaces(), onExit: .remove) { _ in }
        #expect(journal.lines == ["release web", "delete web", "remove web", "settle"])
    }

    init(journal: Journal = Journal(), source: ScriptedSource = ScriptedSource()) {
        self.journal = journal
        self.source = source
    }
}

extension EnrolmentPlan.Phase {
    fileprivate var reason: String? {
        switch self {
        case .waiting(let failure), .leaving(let failure): failure.reason
        case .recorded, .enrolled, .draining: nil
        }
    }
}
