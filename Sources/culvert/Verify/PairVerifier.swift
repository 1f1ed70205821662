import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import NodeAgent
import Redirection
import SPIFFE

/// Proves one pair, from the node that it runs on: looks at what the kernel has, makes a connection, and counts what the wire carries
/// meanwhile. In the node's own network namespace.
struct PairVerifier {
    let question: PairQuestion
    let cluster: ClusterState
    let node: String
    let runDirectory: String
    let pinDirectory: String
    let limit: Duration
    let now: Date

    private static let tunnelPort = RedirectionPlan().tunnelPort
    /// After the connection stands: whoever is refused further on is told by then.
    private static let settling = Duration.milliseconds(300)

    func run() throws -> PairVerification {
        var result = PairVerification(
            node: node, source: name(question.source), destination: name(question.destination), port: question.port)
        let host = try NetworkNamespace.current()
        for (of, pod) in [("source", question.source), ("destination", question.destination)] {
            guard isHere(pod) else {
                result.add(
                    of, "node", .unknown, "is on node \(pod.node)", advice: "run the same there for its half")
                continue
            }
            examine(of, pod, host, &result)
        }
        presentation(&result)
        if isHere(question.source) {
            try connection(host, &result)
        } else {
            result.add(
                "pair", "connection", .unknown, "is made on the source's node",
                advice: "run the same on node \(question.source.node)")
        }
        return result
    }

    private func isHere(_ pod: ClusterState.Pod) -> Bool { pod.node == node }

    private func name(_ pod: ClusterState.Pod) -> String { "\(pod.namespace)/\(pod.name)" }

    // MARK: - What a pod has

    private func examine(
        _ of: String, _ pod: ClusterState.Pod, _ host: NetworkNamespace, _ result: inout PairVerification
    ) {
        guard cluster.isEnrolled(pod), let path = pod.netns else {
            result.add(
                of, "enrolment", .failed, "the pod is not enrolled: its traffic is plaintext",
                advice: "label its namespace \(cluster.enrolmentLabel): \"true\"")
            return
        }
        do {
            let namespace = try NetworkNamespace(path: path)
            try capture(of, pod, namespace, &result)
            try guarded(of, pod, namespace, host, &result)
        } catch {
            result.add(
                of, "capture", .failed, "its network namespace \(path) cannot be examined: \(error)",
                advice: "look whether the pod runs")
        }
        identity(of, pod, &result)
    }

    private func capture(
        _ of: String, _ pod: ClusterState.Pod, _ namespace: NetworkNamespace, _ result: inout PairVerification
    ) throws {
        let redirection = try PodRedirection(
            pod: pod.uid, namespace: namespace, stateDirectory: AgentDirectory.pods(of: runDirectory),
            pinDirectory: pinDirectory)
        let (backend, parts) = try redirection.parts()
        let missing = parts.missing
        result.add(
            of, "capture", missing.isEmpty ? .ok : .failed,
            missing.isEmpty
                ? "\(backend.rawValue): \(parts.count) of \(parts.count) parts"
                : "\(backend.rawValue): missing or changed: \(missing.joined(separator: ", "))",
            advice: missing.isEmpty ? nil : "the agent mends it within seconds: see that it runs, and its log")
        let deaf = try redirection.missingListeners()
        result.add(
            of, "listeners", deaf.isEmpty ? .ok : .failed,
            deaf.isEmpty ? "the proxy listens in the pod" : "missing: \(deaf.joined(separator: ", "))",
            advice: deaf.isEmpty ? nil : "see that the proxy runs and is connected to the agent, and its log")
    }

    private func guarded(
        _ of: String, _ pod: ClusterState.Pod, _ namespace: NetworkNamespace, _ host: NetworkNamespace,
        _ result: inout PairVerification
    ) throws {
        let findings = try PodGuard.inspect(pod: pod.uid, in: namespace, host: host, directory: pinDirectory)
        let missing = findings.parts.missing
        let isEnforced = findings.mode == .enforce
        result.add(
            of, "guard", missing.isEmpty && isEnforced ? .ok : .failed,
            missing.isEmpty
                ? "\(findings.means ?? "none"), \(isEnforced ? "drops plaintext" : "only counts it")"
                : "missing: \(missing.joined(separator: ", "))",
            advice: missing.isEmpty && isEnforced ? nil : "run the agent with --guard enforce, and see its log")
    }

    // MARK: - Identities

    private func identity(_ of: String, _ pod: ClusterState.Pod, _ result: inout PairVerification) {
        let socket = runDirectory + "/certificates.sock"
        let collection = CertificateCollection(all: [socket])
        guard collection.problems.isEmpty else {
            result.add(
                of, "identity", .failed, collection.problems.map(\.message).joined(separator: "; "),
                advice: "see that the proxy runs, with --run-dir \(runDirectory)")
            return
        }
        let leaves = CertificateRow.rows(of: collection, now: now)
        judge(of, "identity", pod, leaves.first { isIdentity($0.spiffeID, of: pod) }, leaves.first?.spiffeID, &result)
    }

    /// Identities are compared as bytes.
    private func isIdentity(_ text: String?, of pod: ClusterState.Pod) -> Bool {
        text.map { Array($0.utf8) == Array(expected(pod).utf8) } ?? false
    }

    private func expected(_ pod: ClusterState.Pod) -> String {
        "spiffe://\(cluster.trustDomain)/ns/\(pod.namespace)/sa/\(pod.serviceAccount)"
    }

    private func judge(
        _ of: String, _ check: String, _ pod: ClusterState.Pod, _ row: CertificateRow?, _ other: String?,
        _ result: inout PairVerification
    ) {
        guard let row else {
            result.add(
                of, check, .failed,
                "no certificate for \(expected(pod))"
                    + (other.map { "; the first one is for \(CertificateOutput.printable($0))" } ?? ""),
                advice: "see the proxy's log and culvert cert list \(runDirectory)/certificates.sock")
            return
        }
        result.add(
            of, check, row.validity == .valid ? .ok : .failed, "\(expected(pod)), \(row.life.words)",
            advice: row.validity == .valid ? nil : "see why the proxy cannot renew it: its log, culvert ca status")
    }

    /// What the destination shows to whoever comes to its tunnel's port: from the node, which the guard lets pass there.
    private func presentation(_ result: inout PairVerification) {
        guard cluster.isEnrolled(question.destination) else { return }
        let address = SocketAddress(question.address, port: Self.tunnelPort)
        do throws(CertificateProblem) {
            guard let endpoint = TLSEndpoint(argument: "\(address)") else { return }
            let showing = try TLSProbe(endpoint: endpoint, credentials: nil, limit: limit).run()
            let rows = CertificateRow.rows(
                of: CertificateCollection(chainDER: showing.chain, of: "\(address)"), now: now)
            judge(
                "destination", "presents", question.destination,
                rows.first { isIdentity($0.spiffeID, of: question.destination) },
                rows.first { $0.kind == .svid || $0.kind == .leaf }?.spiffeID, &result)
        } catch {
            result.add(
                "destination", "presents", .failed, "\(address): \(error.message)",
                advice:
                    "see that the proxy of node \(question.destination.node) runs, and that the nodes reach each other")
        }
    }

    // MARK: - The connection

    private func connection(_ host: NetworkNamespace, _ result: inout PairVerification) throws {
        guard let path = question.source.netns else { return }
        let namespace = try NetworkNamespace(path: path)
        let interface = try PodGuard.hostInterfaces(of: namespace, in: host)[0]
        let tap = try PacketTap(interface: interface)
        let begin = ContinuousClock.now
        let outcome = try namespace.run { try connect(tap, until: begin + limit) }
        var wire = wire(tap)
        wire.interface = interface
        result.wire = wire
        let address = SocketAddress(question.address, port: question.port)
        result.add(
            "pair", "connection", outcome == nil ? .ok : .failed,
            outcome ?? "to \(address), from the source's namespace",
            advice: outcome == nil
                ? nil
                : "see that something listens there, and why in the logs of both proxies (\"connection complete\")")
        let isProven = wire.plaintext == 0 && wire.isTunnelled && wire.missed == 0
        result.add(
            "pair", "wire", isProven ? .ok : .failed,
            "on \(interface): \(wire.tunnelSent) bytes to the tunnel, \(wire.tunnelReceived) back, \(wire.plaintext) in plaintext"
                + (wire.missed > 0 ? ", \(wire.missed) packets not counted" : ""),
            advice: isProven
                ? nil
                : wire.missed > 0
                    ? "run it again when the pod has less to do"
                    : wire.plaintext > 0
                        ? "plaintext passed: see that both pods are enrolled, and exclusions in culvert agent status"
                        : "nothing passed: see the source's proxy")
    }

    private func wire(_ tap: PacketTap) -> PairWire {
        let snapshot = tap.snapshot()
        return PairWire(
            snapshot.flows.map { flow, count in
                WireFlow(
                    source: flow.source, destination: flow.destination, payloadBytes: count.payloadBytes,
                    beginsWithTLS: count.beginsWithTLS)
            }, missed: snapshot.dropped + snapshot.table.uncounted.packets, from: Set(question.source.addresses),
            to: Set(question.destination.addresses), tunnelPort: Self.tunnelPort)
    }

    /// Why it does not stand; nil when it does. A proxy takes a connection before it knows what becomes of it, so what the tunnel carries
    /// and what becomes of the connection a moment later belong to the answer.
    private func connect(_ tap: PacketTap, until deadline: ContinuousClock.Instant) throws -> String? {
        let socket: OwnedDescriptor
        do {
            socket = try TCPSocket.connect(to: SocketAddress(question.address, port: question.port))
        } catch {
            return "\(error)"
        }
        guard wait(socket.raw, POLLOUT, until: deadline) else { return "no answer within \(limit.inWords)" }
        if let error = TCPSocket.pendingError(socket.raw) { return "\(error)" }
        let isTunnel = cluster.isEnrolled(question.destination) && cluster.isEnrolled(question.source)
        while isTunnel, !wire(tap).isTunnelled, ContinuousClock.now < deadline {
            if let ending = ending(of: socket.raw, until: .now + .milliseconds(20)) { return ending }
        }
        return ending(of: socket.raw, until: .now + Self.settling)
    }

    private func ending(of socket: Int32, until deadline: ContinuousClock.Instant) -> String? {
        guard wait(socket, POLLIN, until: deadline) else { return nil }
        var byte: UInt8 = 0
        switch recv(socket, &byte, 1, Int32(MSG_PEEK)) {
        case 0: return "it was closed again without a word"
        case 1: return nil
        default: return "it was ended: \(String(cString: strerror(errno)))"
        }
    }

    private func wait(_ socket: Int32, _ events: Int32, until deadline: ContinuousClock.Instant) -> Bool {
        let (seconds, attoseconds) = max(.zero, deadline - .now).components
        let milliseconds = Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
        var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
        return poll(&entry, 1, milliseconds) == 1
    }
}
