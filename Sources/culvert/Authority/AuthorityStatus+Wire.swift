import Authority
import FoundationEssentials
import MeshAPI
import SPIFFE
import X509

extension Culvert_Authority_V1_StatusResponse {
    /// `history` is the newest first.
    init(_ status: AuthorityStatus, history: [RotationRecord], now: Date) {
        self.init()
        trustDomain = status.trustDomain.name
        bundleSequence = status.bundleSequence
        issued = status.signed
        denied = status.denied
        clamped = status.clamped
        leafLifetimeSeconds = UInt32(clamping: status.leafLifetime.components.seconds)
        warnings = status.warnings
        plugIn = status.plugin.map { "\($0)" } ?? ""
        let dependents = status.dependents
        authorities = status.authorities.map { record in
            .init(record, status.rotation[record.id], status.policy, dependents[record.id] ?? .init())
        }
        let cutOff = Dictionary(uniqueKeysWithValues: status.cutOff.map { ($0.name, $0.because) })
        nodes = status.nodes.map { node in
            var line = Culvert_Authority_V1_NodeStatus(
                node, bundleSequence: status.bundleSequence, history: history, now: now)
            line.cutOff = cutOff[node.name] ?? ""
            return line
        }
        if let rotation = status.rotation.rotation { self.rotation = .init(rotation) }
        if let waiting = status.waiting { self.waiting = .init(waiting) }
        follows = status.follows
        nextStepAt = status.nextStepAt?.wire ?? 0
        self.history = history.map(Culvert_Authority_V1_RotationStep.init)
    }
}

extension Culvert_Authority_V1_AuthorityStatus {
    fileprivate init(
        _ record: AuthorityRecord, _ rotating: RotatingAuthority?, _ policy: RotationPolicy,
        _ dependents: AuthorityStatus.Dependents
    ) {
        self.init()
        id = record.id.description
        subject = "\(record.certificate.subject)"
        state = record.state.rawValue
        kind = record.kind.rawValue
        notBefore = record.certificate.notValidBefore.wire
        notAfter = record.certificate.notValidAfter.wire
        leaves = dependents.leaves
        connections = dependents.connections
        guard let rotating else { return }
        since = rotating.since.wire
        publishedIn = rotating.publishedIn
        switch rotating.state {
        case .active:
            successorPreparedAt = policy.prepareAt(rotating).wire
            successorActivatedAt = policy.activateAt(rotating).wire
        case .old, .tainted: drainedAt = policy.drainedAt(rotating).wire
        case .prepared, .revoked: break
        }
    }
}

extension Culvert_Authority_V1_NodeStatus {
    fileprivate init(_ node: NodeRecord, bundleSequence: UInt64, history: [RotationRecord], now: Date) {
        self.init()
        name = node.name.description
        id = node.id.description
        attestedAt = node.attestedAt.wire
        expiresAt = node.expiresAt.wire
        live = !node.banned && node.expiresAt > now
        let acknowledgement = node.acknowledgement
        acknowledgedSequence = acknowledgement?.sequence ?? 0
        acknowledgedAt = acknowledgement?.at.wire ?? 0
        leaves = UInt32(clamping: acknowledgement?.leafCount ?? 0)
        connections = UInt32(clamping: acknowledgement?.connectionCount ?? 0)
        version = acknowledgement?.version ?? ""
        guard acknowledgedSequence < bundleSequence else { return }
        // From the first bundle on that it lacks, or from its joining where that was later.
        let lacked = history.last { $0.sequence > acknowledgedSequence }?.at ?? node.attestedAt
        behindSince = max(lacked, node.attestedAt).wire
    }
}

extension Culvert_Authority_V1_RotationUnderWay {
    fileprivate init(_ rotation: Rotation) {
        self.init()
        id = rotation.id
        emergency = rotation.emergency
        reason = rotation.reason?.description ?? ""
        startedAt = rotation.startedAt.wire
        replaces = rotation.replaces.map(\.description)
    }
}

extension Culvert_Authority_V1_RotationStep {
    init(_ record: RotationRecord) {
        self.init()
        position = record.position
        at = record.at.wire
        step = record.step.word
        authorityID = record.step.authority?.description ?? ""
        bundleSequence = record.sequence
        reason = record.reason?.description ?? ""
        waived = record.override?.waivedWait ?? ""
        cutOff = record.override?.cutOff?.names ?? []
        cutOffCount = UInt32(clamping: record.override?.cutOff?.count ?? 0)
        if case .started(let emergency, _, _) = record.step { self.emergency = emergency }
    }
}

extension Culvert_Authority_V1_RotationWait {
    init(_ refusal: RotationRefusal) {
        self.init()
        kind = refusal.kind
        description_p = refusal.description
        hint = refusal.hint ?? ""
        authorityID = refusal.authority?.description ?? ""
        nodes = refusal.nodes.map(\.description)
        until = refusal.until?.wire ?? 0
    }
}

extension Culvert_Authority_V1_FederatedDomain {
    init(_ status: Federation.Status) {
        self.init()
        trustDomain = status.trustDomain.name
        url = "\(status.url)"
        if let bundle = status.bundle {
            held = true
            sequence = bundle.sequence
            authorities = UInt32(clamping: bundle.authorities.count)
        }
        fetchedAt = status.fetchedAt?.wire ?? 0
        problem = status.problem ?? ""
        failingSince = status.failingSince?.wire ?? 0
    }
}

extension RotationCommand {
    /// From the operator's socket.
    init(_ request: Culvert_Authority_V1_RotateRequest) throws(RotationRefusal) {
        let reason = request.reason.isEmpty ? nil : try RotationReason(request.reason)
        func authority() throws(RotationRefusal) -> AuthorityID {
            guard let id = AuthorityID(request.authorityID) else {
                throw .unnamed(String(request.authorityID.prefix(80)))
            }
            return id
        }
        switch request.command {
        case .prepare: self = .prepare
        case .activate: self = .activate(try authority(), force: reason)
        case .taint: self = .taint(try authority())
        case .revoke: self = .revoke(try authority(), force: reason)
        case .abort: self = .abort
        case .rotate: self = .rotate
        case .rotateInEmergency:
            guard let reason else { throw .unusableReason }
            self = .rotateInEmergency(reason)
        case .resume: self = .resume
        case .unspecified, .UNRECOGNIZED: throw .unnamed("")
        }
    }
}
