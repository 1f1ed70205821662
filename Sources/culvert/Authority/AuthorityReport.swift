import FoundationEssentials
import MeshAPI

/// What `culvert ca status` prints, as JSON for programs; `AuthorityReport+Text` has the tables for people.
struct AuthorityReport: Encodable, Equatable {
    struct AuthorityLine: Encodable, Equatable {
        let id: String
        let kind: String
        let state: String
        let subject: String
        let notBefore: Date
        let notAfter: Date
        /// Of the present state; roots only.
        let since: Date?
        let publishedInBundle: UInt64?
        /// What live nodes say depends on it.
        let leaves: UInt64
        let connections: UInt64
        /// From when on nothing can depend on it, by time alone.
        let drainedAt: Date?
        let successorPreparedAt: Date?
        let successorActivatedAt: Date?
    }

    struct NodeLine: Encodable, Equatable {
        let name: String
        let id: String
        let attestedAt: Date
        let expiresAt: Date
        /// Attested, not banned, its certificate not expired: rotations wait for it.
        let live: Bool
        let version: String
        /// 0: none yet.
        let acknowledgedSequence: UInt64
        let acknowledgedAt: Date?
        /// Since when there is a bundle that it has not acknowledged.
        let behindSince: Date?
        let leaves: UInt32
        let connections: UInt32
        /// Why it has to attest anew, or catch up, before it can do anything.
        let cutOff: String?
    }

    struct RotationLine: Encodable, Equatable {
        let id: UInt64
        let emergency: Bool
        let reason: String?
        let startedAt: Date
        let replaces: [String]
    }

    /// What the next step, which is due, waits for.
    struct WaitLine: Encodable, Equatable {
        let kind: String
        let description: String
        let hint: String?
        let authority: String?
        let nodes: [String]
        let until: Date?
    }

    struct StepLine: Encodable, Equatable {
        let position: UInt64
        let at: Date
        let step: String
        let authority: String?
        let bundleSequence: UInt64
        let emergency: Bool
        let reason: String?
        let notWaitedFor: String?
        /// Nodes that it did not wait for.
        let cutOff: CutOffLine?
    }

    struct CutOffLine: Encodable, Equatable {
        let count: UInt32
        /// Not all, where they are very many.
        let nodes: [String]

        /// `2 nodes: node-a, node-b`.
        var text: String {
            let named = nodes.prefix(5).joined(separator: ", ")
            let more = count > 5 ? " and \(count - 5) more" : ""
            return "\(count) \(count == 1 ? "node" : "nodes"): \(named)\(more)"
        }
    }

    /// A trust domain whose workloads are believed, too.
    struct FederatedLine: Encodable, Equatable {
        let trustDomain: String
        let url: String
        /// nil as long as no bundle is held.
        let bundleSequence: UInt64?
        let authorities: UInt32
        /// nil: not since the authority's start.
        let fetchedAt: Date?
        /// Why the last attempt failed.
        let problem: String?
        let failingSince: Date?
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let bundleSequence: UInt64
    let leafLifetimeSeconds: UInt32
    let authorities: [AuthorityLine]
    let rotation: RotationLine?
    let waiting: WaitLine?
    let nextStepAt: Date?
    /// Another authority on the same store leads: it takes the steps.
    let follows: Bool
    let federated: [FederatedLine]
    let nodes: [NodeLine]
    /// The newest first.
    let history: [StepLine]
    let warnings: [String]
    /// How the plug-in CA is; nil without one.
    let plugIn: String?
    let issuedSinceStart: UInt64
    let deniedSinceStart: UInt64
    /// Leaves that ended earlier than configured because their issuer does.
    let clampedSinceStart: UInt64

    init(_ response: Culvert_Authority_V1_StatusResponse) {
        trustDomain = response.trustDomain
        bundleSequence = response.bundleSequence
        leafLifetimeSeconds = response.leafLifetimeSeconds
        issuedSinceStart = response.issued
        deniedSinceStart = response.denied
        clampedSinceStart = response.clamped
        warnings = response.warnings
        plugIn = response.plugIn.nonEmpty
        nextStepAt = Date(wireIfAny: response.nextStepAt)
        follows = response.follows
        federated = response.federated.map {
            FederatedLine(
                trustDomain: $0.trustDomain, url: $0.url, bundleSequence: $0.held ? $0.sequence : nil,
                authorities: $0.authorities, fetchedAt: Date(wireIfAny: $0.fetchedAt), problem: $0.problem.nonEmpty,
                failingSince: Date(wireIfAny: $0.failingSince))
        }
        rotation = response.hasRotation ? RotationLine(response.rotation) : nil
        waiting = response.hasWaiting ? WaitLine(response.waiting) : nil
        history = response.history.map { StepLine($0) }
        authorities = response.authorities.map {
            AuthorityLine(
                id: $0.id, kind: $0.kind, state: $0.state, subject: $0.subject, notBefore: Date(wire: $0.notBefore),
                notAfter: Date(wire: $0.notAfter), since: Date(wireIfAny: $0.since),
                publishedInBundle: $0.publishedIn == 0 ? nil : $0.publishedIn, leaves: $0.leaves,
                connections: $0.connections, drainedAt: Date(wireIfAny: $0.drainedAt),
                successorPreparedAt: Date(wireIfAny: $0.successorPreparedAt),
                successorActivatedAt: Date(wireIfAny: $0.successorActivatedAt))
        }
        nodes = response.nodes.map {
            NodeLine(
                name: $0.name, id: $0.id, attestedAt: Date(wire: $0.attestedAt),
                expiresAt: Date(wire: $0.expiresAt), live: $0.live, version: $0.version,
                acknowledgedSequence: $0.acknowledgedSequence, acknowledgedAt: Date(wireIfAny: $0.acknowledgedAt),
                behindSince: Date(wireIfAny: $0.behindSince), leaves: $0.leaves, connections: $0.connections,
                cutOff: $0.cutOff.nonEmpty)
        }
    }
}

extension AuthorityReport.RotationLine {
    fileprivate init(_ rotation: Culvert_Authority_V1_RotationUnderWay) {
        self.init(
            id: rotation.id, emergency: rotation.emergency, reason: rotation.reason.nonEmpty,
            startedAt: Date(wire: rotation.startedAt), replaces: rotation.replaces)
    }
}

extension AuthorityReport.WaitLine {
    init(_ wait: Culvert_Authority_V1_RotationWait) {
        self.init(
            kind: wait.kind, description: wait.description_p, hint: wait.hint.nonEmpty,
            authority: wait.authorityID.nonEmpty, nodes: wait.nodes, until: Date(wireIfAny: wait.until))
    }

    /// Whether it ends by itself.
    var isWait: Bool { kind != "refused" }
}

extension AuthorityReport.StepLine {
    init(_ step: Culvert_Authority_V1_RotationStep) {
        self.init(
            position: step.position, at: Date(wire: step.at), step: step.step, authority: step.authorityID.nonEmpty,
            bundleSequence: step.bundleSequence, emergency: step.emergency, reason: step.reason.nonEmpty,
            notWaitedFor: step.waived.nonEmpty,
            cutOff: step.cutOffCount == 0 ? nil : .init(count: step.cutOffCount, nodes: step.cutOff))
    }
}

extension String {
    fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
