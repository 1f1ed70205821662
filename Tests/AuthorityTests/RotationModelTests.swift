import FoundationEssentials
import SeededRandom
import Testing

@testable import Authority

/// Operators, nodes and time in any order: what the machine promises must hold after every step.
@Suite struct RotationModelTests {
    struct Leaf {
        let issuer: AuthorityID
        let notAfter: Date
    }

    struct Node {
        var name: NodeName
        var live = true
        /// The bundle that it verifies with.
        var sequence: UInt64 = 0
        var leaves: [Leaf] = []
        var report: RotationNode.Report?
    }

    struct World {
        var bench: RotationBench
        var random: SeededGenerator
        var nodes: [Node]
        var waived: Set<AuthorityID> = []
        /// Leaves of nodes that are gone: still in somebody's hands until they expire.
        var orphans: [Leaf] = []

        var leaf: TimeInterval { TimeInterval(bench.machine.policy.leafSeconds) }

        mutating func step() {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<25: pass(.seconds(Int.random(in: 1...60, using: &random)))
            case 25..<28: pass(.seconds(Int.random(in: 60...20_000, using: &random)))
            case 28..<45: send(.tick)
            case 45..<60: withNode { $0.sequence = $1.state.sequence }
            case 60..<72: withNode(report)
            case 72..<84: withNode(issue)
            case 84..<87: leaveOrReturn()
            default: send(.command(command()))
            }
        }

        mutating func pass(_ duration: Duration) { bench.now = bench.now.advanced(by: duration) }

        mutating func withNode(_ body: (inout Node, RotationBench) -> Void) {
            let index = Int.random(in: nodes.indices, using: &random)
            if nodes[index].live { body(&nodes[index], bench) }
        }

        func report(_ node: inout Node, _ bench: RotationBench) {
            node.leaves.removeAll { $0.notAfter <= bench.now }
            var dependents: [AuthorityID: UInt64] = [:]
            for leaf in node.leaves { dependents[leaf.issuer, default: 0] += 1 }
            node.report = .init(sequence: node.sequence, dependents: dependents, at: bench.now)
        }

        func issue(_ node: inout Node, _ bench: RotationBench) {
            guard let active = bench.state.active, active.notAfter > bench.now else { return }
            node.leaves.removeAll { bench.state[$0.issuer]?.state == .tainted }
            guard node.leaves.count < 4 else { return }
            let notAfter = min(bench.now.addingTimeInterval(leaf), active.notAfter)
            node.leaves.append(Leaf(issuer: active.id, notAfter: notAfter))
        }

        mutating func leaveOrReturn() {
            let index = Int.random(in: nodes.indices, using: &random)
            if nodes[index].live {
                orphans += nodes[index].leaves
                nodes[index].leaves = []
            } else {
                // Attests again, and gets the bundle with its SVID.
                nodes[index].sequence = bench.state.sequence
            }
            nodes[index].report = nil
            nodes[index].live.toggle()
        }

        mutating func command() -> RotationCommand {
            let ids = bench.state.authorities.map(\.id) + [authorityID(0xffff)]
            let id = ids.randomElement(using: &random)!
            let force = Int.random(in: 0..<20, using: &random) == 0 ? reason("chance") : nil
            switch Int.random(in: 0..<16, using: &random) {
            case 0..<3: return .prepare
            case 3..<6: return .activate(bench.state.prepared?.id ?? id, force: force)
            case 6..<8: return .taint(id)
            case 8..<11: return .revoke(id, force: force)
            case 11: return .abort
            case 12..<14: return .rotate
            case 14: return .resume
            default: return force.map { .rotateInEmergency($0) } ?? .resume
            }
        }

        mutating func send(_ event: RotationEvent) {
            bench.nodes = nodes.filter(\.live).map { RotationNode(name: $0.name, report: $0.report) }
            let before = bench.state
            let decision = bench.send(event)
            let after = bench.state
            guard let record = decision.record else {
                #expect(before == after)
                return
            }
            switch record.step {
            case .revoked(let id) where record.override != nil: waived.insert(id)
            case .activated(let id, _):
                #expect(before[id]?.state == .prepared)
                // P3: a leaf signed now is not cut short, nor the last one before its successor takes over.
                #expect(after.active!.notAfter >= bench.now.addingTimeInterval(6 * leaf))
                if record.override == nil {
                    // P4: all who will meet its leaves know it.
                    #expect(nodes.allSatisfy { !$0.live || $0.sequence >= after.active!.publishedIn })
                }
            default: break
            }
            // P2
            #expect((Set(before.bundle) == Set(after.bundle)) == (before.sequence == after.sequence))
            #expect(after.sequence == before.sequence || after.sequence == before.sequence + 1)
            // P4, P8
            if let active = after.active {
                #expect(after.bundle.contains(active.id))
                #expect(bench.journal.contains { $0.position == active.preparedBy })
            }
            for case .sign(let id) in decision.effects { #expect(after.active?.id == id) }
            for authority in before.authorities where [.old, .tainted, .revoked].contains(authority.state) {
                if let state = after[authority.id]?.state { #expect(state != .active && state != .prepared) }
            }
            checkLeaves()
        }

        /// P1: whatever leaf is good by its dates chains to the bundle, unless a reason was given.
        func checkLeaves() {
            let bundle = Set(bench.state.bundle).union(waived)
            for leaf in nodes.flatMap(\.leaves) + orphans where leaf.notAfter > bench.now {
                #expect(bundle.contains(leaf.issuer), "a good leaf of \(leaf.issuer) is refused")
            }
        }

        /// P5: what was written leads to where we are, and from here on everything can be finished.
        mutating func finish() throws {
            var replayed = RotationState()
            for record in bench.journal { try replayed.apply(record) }
            #expect(replayed == bench.state)
            let start = bench.journal.lastIndex { if case .checkpoint = $0.step { true } else { false } }
            var short = RotationState()
            for record in bench.journal[start!...] { try short.apply(record) }
            #expect(short == bench.state)
            for _ in 0..<12 {
                pass(.seconds(4000))
                for index in nodes.indices where nodes[index].live {
                    nodes[index].sequence = bench.state.sequence
                    nodes[index].leaves = []
                    report(&nodes[index], bench)
                }
                for _ in 0..<8 { send(.tick) }
            }
            #expect(bench.state.rotation == nil)
            #expect(bench.state.active != nil)
        }
    }

    @Test("promises hold whatever operators, nodes and time do", arguments: UInt64(1)...40)
    func promises(seed: UInt64) throws {
        var policy = RotationPolicy(leaf: .seconds(600), connectionAge: .seconds(60))
        policy.recordsPerCheckpoint = 16
        policy.authoritiesMax = 6
        var world = World(
            bench: RotationBench(policy: policy, life: .seconds(Int(6 * 3600 + seed * 900))),
            random: SeededGenerator(seed: seed),
            nodes: (0..<4).map { Node(name: nodeName("node-\($0)")) })
        for _ in 0..<1500 { world.step() }
        try world.finish()
    }
}
