import FoundationEssentials
import Testing

@testable import Authority

@Suite struct RotationMachineTests {
    let first = authorityID(1)
    let second = authorityID(2)

    @Test("an empty store gets an authority that is published before it signs")
    func firstStart() {
        var bench = RotationBench()
        #expect(bench.send(.tick).effects == [.publish(sequence: 1)])
        #expect(bench.send(.tick).effects == [.sign(with: first)])
        #expect(bench.settle() == nil)
        #expect(bench.states() == [.active])
    }

    @Test(
        "authorities are prepared and activated by time",
        arguments: [
            // Life, then prepared and activated after so much of it, in seconds.
            (24 * 3600, 12 * 3600, 20 * 3600), (60 * 86400, 30 * 86400, 53 * 86400),
            (365 * 86400, 335 * 86400, 358 * 86400),
        ])
    func byTime(life: Int, prepare: Int, activate: Int) throws {
        var bench = RotationBench.running(life: .seconds(life))
        let start = try #require(bench.state.active).notBefore
        for (due, state) in [(prepare, [AuthorityRecord.State.active, .prepared]), (activate, [.old, .active])] {
            bench.now = start.advanced(by: .seconds(due - 1))
            bench.report()
            let before = bench.states()
            #expect(bench.settle() == nil)
            #expect(bench.states() == before)
            bench.now = start.advanced(by: .seconds(due))
            #expect(bench.send(.tick).record != nil)
            bench.report()
            #expect(bench.settle() == nil)
            #expect(bench.states() == state)
        }
        // The old one goes when it has run out, whatever nodes say.
        bench.now = start.advanced(by: .seconds(life + 121))
        bench.settle()
        #expect(bench.state[first]?.state == .revoked)
    }

    @Test("activation waits for every live node to acknowledge the bundle, and names those that have not")
    func acknowledgement() {
        var bench = RotationBench.running()
        #expect(bench.send(.prepare).effects == [.publish(sequence: 2)])
        bench.nodes[0].report?.sequence = 2
        let wait = RotationRefusal.awaitingAcknowledgement(
            second, sequence: 2, laggards: [.init(node: nodeName("node-b"), acknowledged: 1)])
        #expect(bench.send(.activate(second)).refusal == wait)
        #expect(wait.description == "authority 0002 waits for 1 nodes to acknowledge bundle 2: node-b (at 1)")
        #expect(wait.yieldsToForce)
        // Of another history than ours.
        bench.nodes[1].report?.sequence = 3
        #expect(bench.send(.activate(second)).refusal != nil)
        bench.nodes[1].report = nil
        #expect(bench.send(.activate(second)).refusal != nil)
        bench.nodes[1].report = .init(sequence: 2, at: bench.now)
        #expect(bench.send(.activate(second)).effects == [.sign(with: second)])
        #expect(bench.states() == [.old, .active])
        #expect(bench.state.sequence == 2)
    }

    @Test("force goes past a wait, and the journal has its reason and what was waived")
    func force() throws {
        var bench = RotationBench.running()
        bench.send(.prepare)
        let forced = try #require(bench.send(.activate(second, force: reason("node-b burnt down"))).record?.override)
        #expect(forced.reason.description == "node-b burnt down")
        #expect(forced.waivedWait.contains("node-a (at 1), node-b (at 1)"))
        bench.send(.taint(first))
        bench.report(holding: [first: 2])
        let revoked = try #require(bench.send(.revoke(first, force: reason("it has to be"))).record?.override)
        #expect(revoked.waivedWait.contains("node-a (2)"))
        #expect(revoked.waivedWait.contains("may last until"))
        #expect(bench.state.bundle == [second])
    }

    @Test("force where nothing is waited for leaves no mark")
    func needlessForce() throws {
        var bench = RotationBench.running()
        bench.send(.prepare)
        bench.report()
        let record = try #require(bench.send(.activate(second, force: reason("just to be sure"))).record)
        #expect(record.override == nil)
    }

    @Test("revocation waits for reports since the last signature, for leaves, and for what nobody reports")
    func revocation() {
        var bench = RotationBench.running()
        bench.send(.prepare)
        bench.report()
        bench.send(.activate(second))
        let retired = bench.now
        bench.send(.taint(first))
        // In the second of the last signature nothing says which came first.
        bench.now = retired.advanced(by: .milliseconds(900))
        bench.report()
        bench.now = retired.advanced(by: .seconds(5))
        #expect(
            bench.send(.revoke(first)).refusal
                == .awaitingReports(first, nodes: [nodeName("node-a"), nodeName("node-b")]))
        bench.report(holding: [first: 3])
        #expect(
            bench.send(.revoke(first)).refusal
                == .inUse(
                    first, by: [.init(node: nodeName("node-a"), count: 3), .init(node: nodeName("node-b"), count: 3)]))
        bench.report()
        // A leaf's life, the clocks' difference and a connection's age.
        let drained = retired.advanced(by: .seconds(3600 + 120 + 3600))
        #expect(bench.send(.revoke(first)).refusal == .undrained(first, until: drained))
        bench.now = drained.advanced(by: .seconds(-1))
        #expect(bench.send(.revoke(first)).refusal != nil)
        bench.now = drained
        #expect(bench.send(.revoke(first)).effects == [.publish(sequence: 3)])
        #expect(bench.state.bundle == [second])
    }

    @Test("a leaf's life that was longer once is waited out all the same")
    func loweredLeafLifetime() throws {
        var bench = RotationBench.running(policy: RotationPolicy(leaf: .seconds(12 * 3600)))
        let lowered = RotationMachine(policy: RotationPolicy(leaf: .seconds(600), connectionAge: .zero))
        bench.send(.prepare)
        bench.report()
        bench.send(.activate(second))
        bench.send(.taint(first))
        let retired = bench.now
        bench.now = retired.advanced(by: .seconds(3600))
        bench.report()
        let decision = lowered.decide(
            .command(.revoke(first)), in: bench.state, RotationSituation(now: bench.now, nodes: bench.nodes))
        #expect(decision.refusal == .undrained(first, until: retired.advanced(by: .seconds(12 * 3600 + 120))))
    }

    @Test("a leaf's life that grows is in the journal before a leaf has it")
    func raisedLeafLifetime() throws {
        let bench = RotationBench.running()
        let raised = RotationMachine(policy: RotationPolicy(leaf: .seconds(7200)))
        let decision = raised.decide(.tick, in: bench.state, RotationSituation(now: bench.now, nodes: bench.nodes))
        #expect(decision.record?.step == .leafLifetime(seconds: 7200))
    }

    struct Refused: Sendable {
        let name: String
        let steps: [RotationCommand]
        let command: RotationCommand
        let refusal: RotationRefusal
    }

    static let refusals: [Refused] = {
        let (first, second, third) = (authorityID(1), authorityID(2), authorityID(9))
        let toOld: [RotationCommand] = [.prepare, .activate(second)]
        return [
            .init(name: "prepare twice", steps: [.prepare], command: .prepare, refusal: .alreadyPrepared(second)),
            .init(name: "activate a stranger", steps: [], command: .activate(third), refusal: .unknown(third)),
            .init(
                name: "activate the active", steps: [], command: .activate(first, force: reason("so")),
                refusal: .wrongState(first, is: .active, wanted: .prepared)),
            .init(
                name: "activate an old one", steps: toOld, command: .activate(first, force: reason("so")),
                refusal: .wrongState(first, is: .old, wanted: .prepared)),
            .init(
                name: "taint the active", steps: [], command: .taint(first),
                refusal: .wrongState(first, is: .active, wanted: .old)),
            .init(
                name: "taint the prepared", steps: [.prepare], command: .taint(second),
                refusal: .wrongState(second, is: .prepared, wanted: .old)),
            .init(
                name: "taint twice", steps: toOld + [.taint(first)], command: .taint(first),
                refusal: .wrongState(first, is: .tainted, wanted: .old)),
            .init(
                name: "revoke the active, forced", steps: [], command: .revoke(first, force: reason("so")),
                refusal: .wrongState(first, is: .active, wanted: .tainted)),
            .init(
                name: "revoke without taint, forced", steps: toOld, command: .revoke(first, force: reason("so")),
                refusal: .wrongState(first, is: .old, wanted: .tainted)),
            .init(name: "revoke a stranger", steps: [], command: .revoke(third), refusal: .unknown(third)),
            .init(name: "abort nothing", steps: [], command: .abort, refusal: .nothingPrepared),
            .init(name: "abort past activation", steps: toOld, command: .abort, refusal: .nothingPrepared),
            .init(name: "resume nothing", steps: [], command: .resume, refusal: .nothingToResume),
            .init(name: "rotate twice", steps: [.rotate], command: .rotate, refusal: .rotationUnderWay(4)),
            .init(
                name: "two emergencies", steps: [.rotateInEmergency(reason("a"))],
                command: .rotateInEmergency(reason("b")), refusal: .rotationUnderWay(4)),
        ]
    }()

    @Test("what must not be done is refused with the reason", arguments: refusals.indices)
    func refused(_ index: Int) {
        let row = Self.refusals[index]
        var bench = RotationBench.running()
        for step in row.steps {
            #expect(bench.send(step).record != nil, "\(row.name)")
            bench.report()
        }
        let before = bench.state
        let refusal = bench.send(row.command).refusal
        #expect(refusal == row.refusal, "\(row.name)")
        #expect(bench.state == before)
        #expect(refusal?.yieldsToForce == false)
        #expect(refusal?.description.isEmpty == false)
    }

    @Test("a clock behind the journal stops every step")
    func clock() {
        var bench = RotationBench.running()
        bench.backdating = .seconds(120)
        bench.send(.prepare)
        bench.report()
        let recorded = bench.now
        bench.now = recorded.advanced(by: .seconds(-301))
        let refusal = RotationRefusal.clockWentBack(now: bench.now, recorded: recorded)
        for command: RotationCommand in [.activate(second), .taint(first), .rotate, .abort, .prepare] {
            #expect(bench.send(command).refusal == refusal)
        }
        #expect(bench.send(.tick).refusal == refusal)
        // An authority of the future does not sign, whatever the reason.
        #expect(bench.send(.activate(second, force: reason("so"))).refusal?.yieldsToForce == false)
        bench.now = recorded.advanced(by: .seconds(-100))
        #expect(bench.decide(.command(.activate(second))).record != nil)
    }

    @Test("a reason goes past a clock that is behind the journal, and the journal goes on from there")
    func forcedClock() throws {
        var bench = RotationBench.running()
        bench.backdating = .seconds(1000)
        bench.send(.prepare)
        bench.report()
        bench.now = bench.now.advanced(by: .seconds(-301))
        let record = try #require(bench.send(.activate(second, force: reason("the clock was wrong before"))).record)
        #expect(record.override?.waivedWait.contains("the clock says") == true)
        #expect(bench.send(.taint(first)).record != nil)
    }

    @Test("an authority that would not outlive six leaves is neither prepared nor activated")
    func tooLittleLife() throws {
        var bench = RotationBench.running()
        bench.life = .seconds(6 * 3600 - 1)
        #expect(bench.send(.prepare).refusal?.yieldsToForce == false)
        bench.life = .seconds(7 * 3600)
        bench.send(.prepare)
        bench.report()
        bench.now = bench.now.advanced(by: .seconds(2 * 3600))
        let prepared = try #require(bench.state.prepared)
        let needed = bench.now.advanced(by: .seconds(6 * 3600))
        #expect(
            bench.send(.activate(second, force: reason("so"))).refusal
                == .tooLittleLife(second, notAfter: prepared.notAfter, needed: needed))
        // Time drops it by itself.
        #expect(bench.send(.tick).record?.step == .aborted(id: second, cancels: false))
    }

    @Test("a key that was an authority's is not taken again, nor one that is not valid yet")
    func candidates() {
        let bench = RotationBench.running()
        var situation = RotationSituation(now: bench.now, nodes: bench.nodes)
        situation.candidate = .init(id: first, notBefore: bench.now, notAfter: bench.now.advanced(by: day * 60))
        #expect(
            bench.machine.decide(.command(.prepare), in: bench.state, situation).refusal == .keyUsedBefore(first))
        let tomorrow = bench.now.advanced(by: day)
        situation.candidate = .init(id: second, notBefore: tomorrow, notAfter: bench.now.advanced(by: day * 60))
        #expect(
            bench.machine.decide(.command(.prepare), in: bench.state, situation).refusal
                == .notYetValid(second, from: tomorrow))
    }

    @Test("the bundle has a bound")
    func bound() {
        var policy = RotationPolicy(leaf: .seconds(3600))
        policy.authoritiesMax = 3
        var bench = RotationBench.running(policy: policy)
        for number in 2...3 {
            bench.send(.prepare)
            bench.report()
            bench.send(.activate(authorityID(number)))
        }
        #expect(bench.send(.prepare).refusal == .tooManyAuthorities(3))
    }

    @Test("abort drops what never signed and the rotation with it")
    func abort() {
        var bench = RotationBench.running()
        bench.send(.rotate)
        bench.send(.tick)
        #expect(bench.send(.abort).effects == [.publish(sequence: 3)])
        #expect(bench.state.rotation == nil)
        #expect(bench.state.bundle == [first])
        bench.send(.rotate)
        #expect(bench.send(.abort).record?.step == .finished(id: 7))
        #expect(bench.settle() == nil)
        #expect(bench.state.active?.id == first)
    }

    @Test("rotate goes through every state, waiting where it must, and leaves only the new authority")
    func rotate() {
        var bench = RotationBench.running()
        bench.send(.rotate)
        guard case .awaitingAcknowledgement(second, sequence: 2, _) = bench.settle() else {
            Issue.record("activation did not wait")
            return
        }
        #expect(bench.send(.resume).refusal != nil)
        bench.report()
        #expect(bench.send(.resume).effects == [.sign(with: second)])
        #expect(bench.send(.resume).effects == [.reissue(leavesOf: first)])
        bench.now = bench.now.advanced(by: .seconds(10))
        bench.report(holding: [first: 1])
        guard case .inUse(first, _) = bench.settle() else {
            Issue.record("revocation did not wait")
            return
        }
        bench.report()
        guard case .undrained(first, let until) = bench.settle() else {
            Issue.record("revocation did not wait for time")
            return
        }
        bench.now = until
        #expect(bench.settle() == nil)
        #expect(bench.states() == [.revoked, .active])
        #expect(bench.state.rotation == nil)
        #expect(bench.journal.allSatisfy { $0.override == nil })
    }

    @Test("an emergency drops what was prepared before it, waits a minute for nodes, and records what it went past")
    func emergency() {
        var bench = RotationBench.running()
        bench.send(.prepare)
        bench.send(.rotateInEmergency(reason("the key is on the internet")))
        let third = authorityID(3)
        guard case .awaitingAcknowledgement(third, _, _) = bench.settle() else {
            Issue.record("activation did not wait at all")
            return
        }
        #expect(bench.state[second]?.state == .revoked)
        bench.now = bench.now.advanced(by: .seconds(60))
        guard case .awaitingReports = bench.settle() else {
            Issue.record("revocation did not wait at all")
            return
        }
        #expect(bench.state.active?.id == third)
        bench.now = bench.now.advanced(by: .seconds(1))
        bench.report(holding: [first: 1])
        guard case .inUse = bench.settle() else {
            Issue.record("revocation did not wait for leaves")
            return
        }
        bench.now = bench.now.advanced(by: .seconds(900))
        #expect(bench.settle() == nil)
        #expect(bench.state.bundle == [third])
        let overrides = bench.journal.compactMap(\.override)
        #expect(overrides.count == 2)
        #expect(overrides.allSatisfy { $0.reason.description == "the key is on the internet" })
        #expect(overrides.map { $0.cutOff?.names } == [["node-a", "node-b"], ["node-a", "node-b"]])
        #expect(overrides.map { $0.cutOff?.count } == [2, 2])
    }

    @Test("of very many nodes that are left behind some are named and all are counted; journals of before name none")
    func cutOff() throws {
        let waits = [
            RotationRefusal.awaitingReports(first, nodes: (0..<300).map { nodeName("node-\($0)") }),
            .inUse(first, by: [.init(node: nodeName("node-7"), count: 1), .init(node: nodeName("a-node"), count: 2)]),
            .undrained(first, until: Date(unixSeconds: 0)),
        ]
        let left = try #require(RotationRecord.CutOff(waits))
        #expect(left.count == 301)
        #expect(left.names.count == RotationRecord.CutOff.namesMax && left.names[0] == "a-node")
        #expect(RotationRecord.CutOff([.undrained(first, until: Date(unixSeconds: 0))]) == nil)
        let before = Data(#"{"reason":"r","waivedWait":"w"}"#.utf8)
        #expect(try JSONDecoder().decode(RotationRecord.Override.self, from: before).cutOff == nil)
    }

    @Test(
        "an emergency does not wait out the life of leaves that nobody holds any more, and takes over a calm rotation")
    func emergencyTakesOver() {
        var bench = RotationBench.running()
        bench.send(.rotate)
        bench.settle()
        #expect(bench.send(.rotateInEmergency(reason("worse than thought"))).record != nil)
        bench.settle()
        bench.report()
        bench.settle()
        bench.now = bench.now.advanced(by: .seconds(1))
        bench.report()
        #expect(bench.settle() == nil)
        #expect(bench.states() == [.revoked, .revoked, .active])
    }

    @Test("a rotation that waits does not keep the next authority from coming in time")
    func blockedRotation() throws {
        var bench = RotationBench.running(policy: RotationPolicy(leaf: .seconds(10)), life: day)
        bench.send(.rotate)
        bench.settle()
        bench.report()
        bench.settle()
        bench.now = try #require(bench.state.active).notBefore.advanced(by: .seconds(12 * 3600))
        // A node holds on to a leaf of the first for all that time.
        bench.report(holding: [first: 1])
        bench.settle()
        #expect(bench.state.prepared?.id == authorityID(3))
    }

    @Test(
        "a reason is one line of text",
        arguments: ["", "   ", "two\nlines", String(repeating: "x", count: 501), "bell\u{7}"])
    func reasons(_ text: String) {
        #expect(throws: RotationRefusal.unusableReason) { try RotationReason(text) }
    }
}
