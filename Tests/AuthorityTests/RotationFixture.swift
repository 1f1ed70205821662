import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

func authorityID(_ number: Int) -> AuthorityID {
    AuthorityID(hexadecimal([UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]))!
}

func nodeName(_ text: String) -> NodeName {
    do { return try NodeName(text) } catch { fatalError("\(error)") }
}

func reason(_ text: String) -> RotationReason {
    do { return try RotationReason(text) } catch { fatalError("\(error)") }
}

let day: Duration = .seconds(24 * 3600)

/// The machine on a journal that is a list, with nodes that a test moves by hand.
struct RotationBench {
    let machine: RotationMachine
    var state = RotationState()
    var journal: [RotationRecord] = []
    var now = Date(unixSeconds: 1_767_225_600)
    var nodes: [RotationNode] = []
    var made = 0
    /// What a new authority lives.
    var life: Duration
    var backdating: Duration = .zero

    init(policy: RotationPolicy = RotationPolicy(leaf: .seconds(3600)), life: Duration = day * 60) {
        machine = RotationMachine(policy: policy)
        self.life = life
        let record = machine.adopt([], sequence: 0, now: now)
        #expect(throws: Never.self) { try state.apply(record) }
        journal.append(record)
    }

    /// With one authority that signs, and two nodes that have its bundle.
    static func running(
        policy: RotationPolicy = RotationPolicy(leaf: .seconds(3600)), life: Duration = day * 60
    ) -> RotationBench {
        var bench = RotationBench(policy: policy, life: life)
        bench.send(.tick)
        bench.send(.tick)
        bench.nodes = [RotationNode(name: nodeName("node-a")), RotationNode(name: nodeName("node-b"))]
        bench.now = bench.now.advanced(by: .seconds(1))
        bench.report()
        return bench
    }

    func decide(_ event: RotationEvent) -> RotationDecision {
        var situation = RotationSituation(now: now, nodes: nodes)
        let decision = machine.decide(event, in: state, situation)
        guard decision == .makeCandidate else { return decision }
        situation.candidate = .init(
            id: authorityID(made + 1), notBefore: now.advanced(by: .zero - backdating), notAfter: now.advanced(by: life)
        )
        return machine.decide(event, in: state, situation)
    }

    @discardableResult
    mutating func send(_ event: RotationEvent) -> RotationDecision {
        let decision = decide(event)
        if case .commit(let record, _) = decision {
            if case .prepared = record.step { made += 1 }
            #expect(throws: Never.self) { try state.apply(record) }
            journal.append(record)
        }
        return decision
    }

    @discardableResult
    mutating func send(_ command: RotationCommand) -> RotationDecision { send(.command(command)) }

    /// Every node has the bundle and says so; `holding` is what each still has.
    mutating func report(holding: [AuthorityID: UInt64] = [:]) {
        for index in nodes.indices {
            nodes[index].report = .init(sequence: state.sequence, dependents: holding, at: now)
        }
    }

    /// Ticks until no step is due, and returns what is waited for then.
    @discardableResult
    mutating func settle() -> RotationRefusal? {
        for _ in 0..<100 {
            switch send(.tick) {
            case .commit: continue
            case .refuse(let refusal): return refusal
            default: return nil
            }
        }
        Issue.record("the machine does not come to rest")
        return nil
    }

    func states() -> [AuthorityRecord.State] { state.authorities.map(\.state) }
}

extension RotationDecision {
    var refusal: RotationRefusal? {
        if case .refuse(let refusal) = self { refusal } else { nil }
    }
    var record: RotationRecord? {
        if case .commit(let record, _) = self { record } else { nil }
    }
    var effects: [RotationEffect] {
        if case .commit(_, let effects) = self { effects } else { [] }
    }
}
