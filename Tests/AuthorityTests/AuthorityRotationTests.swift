import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// The running authority with one node that renews what it is told to and reports what it holds.
struct RotatingMesh {
    let directory: TemporaryDirectory
    let clock: TestClock
    let audit = AuditLog()
    let store: SQLiteAuthorityStore
    let authority: CertificateAuthority
    let node: NodeCaller
    /// What the pod on the node uses; every leaf that it ever had.
    private(set) var leaves: [IssuedSVID] = []

    init(_ directory: TemporaryDirectory, clock: TestClock, fault: JournalFault? = nil) async throws {
        self.directory = directory
        self.clock = clock
        let home = try AuthorityDirectory(path: directory.path)
        store = try #require(home.store as? SQLiteAuthorityStore)
        var configuration = CertificateAuthority.Configuration(trustDomain: AuthorityFixture.trustDomain)
        configuration.lifetimes = RotationRig.lifetimes
        authority = try await CertificateAuthority.open(
            configuration, store: home.store, journal: FaultyJournal(store: store, fault: fault), seal: home.seal,
            pods: PodTable(), clock: clock.read, random: systemRandomBytes, audit: audit.record)
        let token = try await authority.createJoinToken(node: NodeName("node-a")).token
        node = NodeCaller(
            try await authority.attestNode(token: token.text, csr: try request(), source: "test"))
    }

    mutating func renewLeaf() async throws {
        leaves.append(try await authority.issue(podUID: "web-uid", csr: request(), caller: node))
    }

    func renewNode() async throws { _ = try await authority.renewNode(csr: request(), caller: node) }

    /// The bundle that there is, and the newest leaf.
    func report(holding count: UInt32 = 1) async throws {
        let held = leaves.last.map {
            [
                NodeAcknowledgement.Leaves(
                    authority: $0.record.authority, count: count, oldestExpiry: $0.notAfter.unixSeconds)
            ]
        }
        try await authority.acknowledge(
            sequence: authority.bundle.current.sequence, version: "test", leaves: held ?? [], caller: node)
    }

    var states: [AuthorityRecord.State] { authority.status().rotation.authorities.map(\.state) }
    var steps: [String] {
        get async throws { try await authority.rotationHistory(limit: 100).reversed().map(\.step.word) }
    }

    /// Whether the leaf is accepted by whoever has the present bundle.
    func verifies(_ svid: IssuedSVID) -> Bool {
        let verifier = PeerVerifier(bundles: TrustBundleSet([authority.bundle.current]))
        let verdict = verifier.verify(chainDER: svid.certificates.map { $0.der() }, role: .client, now: clock.now)
        if case .verified = verdict { return true }
        return false
    }

    /// A rotation, begun unless it was, to its end: time passes, the node renews what is tainted and reports.
    mutating func rotate() async throws {
        if try await !steps.contains("started") {
            let answer = try await authority.rotate(.rotate)
            #expect(answer.refusal == nil)
        }
        try await renewLeaf()
        for _ in 0..<60 where authority.status().rotation.rotation != nil {
            clock.advance(.seconds(100))
            try await renewNode()
            try await renewLeaf()
            try await report()
            try await authority.maintain()
            let present = leaves.filter { $0.notAfter > clock.now }
            for leaf in present { #expect(verifies(leaf)) }
        }
    }

    /// P1 to P4 of the dossier's appendix, on what is stored; P5 is that it came to this, P6 is asked for.
    func check() async throws {
        let stored = try await store.rotation()
        let state = try #require(try stored.replayed())
        #expect(state.rotation == nil)
        #expect(state == authority.status().rotation)
        let bundle = authority.bundle.current
        #expect(Set(bundle.authorities) == Set(stored.authorities.records.filter(\.isInBundle).map(\.certificate)))
        #expect(bundle.sequence == state.sequence)
        let roots = stored.authorities.roots
        for issuance in try await store.issuances(limit: 1000) {
            let issuer = try #require(stored.authorities.records.first { $0.id == issuance.authority })
            #expect(issuance.notAfter <= issuer.certificate.notValidAfter)
            let root = try #require(roots[issuance.authority])
            #expect(issuance.notAfter <= clock.now || state.bundle.contains(root))
        }
        let history = try await authority.rotationHistory(limit: 1000).reversed()
        for (before, after) in zip(history, history.dropFirst()) {
            #expect(after.position == before.position + 1)
            let changes = ["prepared", "revoked", "expired", "aborted"].contains(after.step.word)
            #expect(after.sequence == before.sequence + (changes ? 1 : 0))
        }
        let active = try #require(state.active)
        #expect(state.bundle.contains(active.id))
        #expect(history.contains { $0.step.authority == active.id && $0.step.word == "activated" })
        await #expect(throws: Denial.self) {
            try await authority.issue(podUID: "db-uid", csr: request(), caller: node)
        }
    }
}

@Suite struct AuthorityRotationTests {
    private let directory = TemporaryDirectory()
    private let clock = TestClock(RotationRig.start)

    @Test("a root is replaced in time without an operator, and no leaf is ever refused")
    func byTime() async throws {
        var mesh = try await RotatingMesh(directory, clock: clock)
        let first = try #require(mesh.authority.bundle.current.authorities.first)
        // Two thirds of two roots' lives, in steps shorter than half a leaf's.
        for _ in 0..<112 {
            clock.advance(.seconds(200))
            try await mesh.renewNode()
            try await mesh.renewLeaf()
            try await mesh.report()
            try await mesh.authority.maintain()
            for leaf in mesh.leaves.suffix(4) where leaf.notAfter > clock.now { #expect(mesh.verifies(leaf)) }
            #expect(mesh.leaves.last!.notAfter == clock.now.advanced(by: .seconds(600)))
        }
        #expect(!mesh.authority.bundle.current.authorities.contains(first))
        #expect(try await mesh.steps.filter { $0 != "leaf lifetime" && $0 != "checkpoint" }.count >= 5)
        #expect(mesh.authority.status().warnings.isEmpty)
        try await mesh.check()
    }

    @Test(
        "the signer changes only after every live node has acknowledged the bundle, and no leaf comes from the old one after"
    )
    func publishBeforeUse() async throws {
        var mesh = try await RotatingMesh(directory, clock: clock)
        try await mesh.renewLeaf()
        let prepared = try await mesh.authority.rotate(.prepare)
        let id = try #require(prepared.state.prepared?.id)
        #expect(mesh.authority.bundle.current.authorities.count == 2)
        let waits = try await mesh.authority.rotate(.activate(id))
        guard case .awaitingAcknowledgement(id, sequence: 2, let laggards) = waits.refusal else {
            Issue.record("\(waits)")
            return
        }
        #expect(laggards.map(\.node.description) == ["node-a"])
        try await mesh.renewLeaf()
        try await mesh.report()
        #expect(try await mesh.authority.rotate(.activate(id)).refusal == nil)
        try await mesh.renewLeaf()
        let issuers = mesh.leaves.map(\.record.authority)
        #expect(issuers[0] == issuers[1] && issuers[1] != issuers[2])
        for leaf in mesh.leaves { #expect(mesh.verifies(leaf)) }
        #expect(mesh.states == [.old, .active])
    }

    @Test("a rotation taints what it replaced, waits for who depends on it, and revokes it when it is drained")
    func wholeRotation() async throws {
        var mesh = try await RotatingMesh(directory, clock: clock)
        try await mesh.renewLeaf()
        try await mesh.report()
        let old = try #require(mesh.authority.status().rotation.active?.id)
        #expect(try await mesh.authority.rotate(.rotate).taken.map(\.step.word) == ["started", "prepared"])
        clock.advance(.seconds(10))
        try await mesh.report()
        try await mesh.authority.maintain()
        #expect(mesh.states == [.tainted, .active])
        #expect(mesh.authority.bundle.tainted == [old])
        // Everybody's time is over, and one node says that it still has a leaf.
        for _ in 0..<3 {
            clock.advance(.seconds(1500))
            try await mesh.renewNode()
            try await mesh.report()
            try await mesh.authority.maintain()
        }
        guard case .inUse(old, let dependents) = mesh.authority.status().waiting else {
            Issue.record("\(mesh.authority.status())")
            return
        }
        #expect(dependents.map(\.count) == [1])
        try await mesh.renewLeaf()
        try await mesh.report()
        try await mesh.authority.maintain()
        #expect(mesh.states == [.revoked, .active])
        #expect(mesh.authority.bundle.tainted == [])
        #expect(mesh.verifies(mesh.leaves[1]) && !mesh.verifies(mesh.leaves[0]))
        #expect(
            try await mesh.steps == [
                "checkpoint", "prepared", "activated", "started", "prepared", "activated", "tainted", "revoked",
                "finished",
            ])
        let audited = mesh.audit.all.compactMap { event -> String? in
            guard case .rotated(let record, _) = event else { return nil }
            return record.step.word
        }
        #expect(try await mesh.steps == ["checkpoint"] + audited)
        try await mesh.check()
    }

    @Test(
        "a command that is refused changes nothing and leaves a line in the audit trail; one with a reason has it recorded"
    )
    func refusedAndForced() async throws {
        let mesh = try await RotatingMesh(directory, clock: clock)
        let active = try #require(mesh.authority.status().rotation.active?.id)
        let before = try await mesh.store.rotation()
        let refused = try await mesh.authority.rotate(.taint(active))
        #expect(refused.refusal == .wrongState(active, is: .active, wanted: .old))
        #expect(try await mesh.store.rotation() == before)
        #expect(
            mesh.audit.all.contains(.rotationRefused(.taint(active), try #require(refused.refusal), by: .thisProcess)))
        let prepared = try #require(try await mesh.authority.rotate(.prepare).state.prepared?.id)
        let ann = try AdminCaller(id: SPIFFEID("spiffe://culvert.test/ns/ops/sa/ann"))
        let forced = try await mesh.authority.rotate(
            .activate(prepared, force: reason("node-a is gone for good")), by: ann)
        #expect(forced.taken.first?.reason == reason("node-a is gone for good"))
        #expect(try await mesh.authority.rotationHistory(limit: 1).first == forced.taken.last)
        #expect(mesh.audit.all.contains(.rotated(try #require(forced.taken.first), by: ann)))
        for record in forced.taken.dropFirst() { #expect(mesh.audit.all.contains(.rotated(record, by: nil))) }
    }

    @Test("a report that a step waits for wakes the maintenance")
    func wakes() async throws {
        let mesh = try await RotatingMesh(directory, clock: clock)
        try await mesh.report()
        _ = try await mesh.authority.rotate(.rotate)
        let maintenance = Task { await mesh.authority.keepMaintained { Issue.record("\($0)") } }
        clock.advance(.seconds(5))
        try await mesh.report()
        for _ in 0..<2000 where mesh.states != [.tainted, .active] { try await Task.sleep(for: .milliseconds(5)) }
        #expect(mesh.states == [.tainted, .active])
        maintenance.cancel()
        await maintenance.value
    }

    @Test("by a clock that is years ahead a good root is not thrown away")
    func clockAhead() async throws {
        let mesh = try await RotatingMesh(directory, clock: clock)
        let active = try #require(mesh.authority.status().rotation.active)
        clock.advance(.seconds(3 * 365 * 86400))
        await #expect(throws: AuthorityError.self) { try await mesh.authority.maintain() }
        #expect(mesh.states == [.active])
        clock.advance(.zero - .seconds(3 * 365 * 86400))
        try await mesh.authority.maintain()
        #expect(mesh.authority.status().rotation.active?.id == active.id)
    }

    @Test(
        "an authority that is killed before or after any of its journal's writes goes on where it was",
        arguments: 1...9)
    func killed(write: Int) async throws {
        for kind in [JournalFault.Kind.killedBefore, .killedAfter] {
            let directory = TemporaryDirectory()
            setenv(
                RotatingMeshChild.variable,
                "\(directory.path) \(write) \(kind == .killedBefore ? "before" : "after")", 1)
            await #expect(processExitsWith: .signal(SIGKILL)) { try await RotatingMeshChild.run() }
            unsetenv(RotatingMeshChild.variable)
            let clock = TestClock(RotationRig.start.advanced(by: .seconds(7000)))
            var mesh = try await RotatingMesh(directory, clock: clock)
            try await mesh.rotate()
            try await mesh.check()
            #expect(try await mesh.steps.filter { ["started", "finished"].contains($0) } == ["started", "finished"])
        }
    }
}

/// What the killed process does.
enum RotatingMeshChild {
    static let variable = "CULVERT_ROTATING_MESH_CHILD"

    static func run() async throws {
        let words = String(cString: getenv(variable)).split(separator: " ")
        let fault = JournalFault(write: Int(words[1])!, kind: words[2] == "before" ? .killedBefore : .killedAfter)
        var mesh = try await RotatingMesh(
            TemporaryDirectory(path: String(words[0])), clock: TestClock(RotationRig.start), fault: fault)
        try await mesh.rotate()
    }
}
