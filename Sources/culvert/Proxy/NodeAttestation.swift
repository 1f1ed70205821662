import FoundationEssentials
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import WorkloadIdentity

/// How a node gets a certificate of its own, tried until it works: the one on disk, that one renewed, which the authority does for some
/// days after its end, or a join token shown to the authority.
struct NodeAttestation: Sendable {
    let settings: AuthoritySession.Settings
    let credentials: NodeCredentials
    let trust: NodeTrustKeeper
    let readiness: Readiness
    let logger: Logger

    /// A certificate of the node's, kept on disk; with a bundle where the authority sent one along.
    typealias Outcome = (svid: X509SVID, bundle: TrustBundle?)

    /// Returns when the node has a certificate; throws only when the task is cancelled.
    func identity() async throws -> Outcome {
        var saved = credentials.load { logger.warning("\($0)") }
        if let svid = saved, svid.id != (try nodeID) { saved = nil }
        if let svid = saved, svid.notAfter > Date() { return (svid, nil) }
        if let svid = saved {
            logger.warning(
                "The node's certificate has expired; the authority is asked to renew it",
                metadata: ["expired": "\(svid.notAfter.formatted(.iso8601))"])
        }
        var retry = RetrySchedule()
        while true {
            let tried = joinToken
            do {
                guard let saved else { return try await firstAttestation() }
                return try await successor(of: saved) { try await renewedAlone(saved) }
            } catch {
                try Task.checkCancellation()
                let pause = pause(after: error, &retry)
                let text = explained(error, saved)
                readiness.unmet(ProxyNode.Condition.authority, because: text)
                logger.warning("Node not attested yet", metadata: ["error": "\(text)", "retry": "\(pause)"])
                _ = trust.readFileAgain()
                try await sleep(pause, havingTried: tried)
            }
        }
    }

    private func firstAttestation() async throws -> Outcome {
        try await exclusively {
            // One that started with this one may have been first.
            if let saved = credentials.load(log: { _ in }), saved.id == (try nodeID), saved.notAfter > Date() {
                return (saved, nil)
            }
            return try await attest()
        }
    }

    /// What another process of this node has saved meanwhile; or by `renewal`; or, where that cannot help any more, by a join token, if the
    /// operator has put one there.
    func successor(of svid: X509SVID, renewal: () async throws -> X509SVID) async throws -> Outcome {
        try await exclusively {
            if let saved = credentials.successor(of: svid) { return (saved, nil) }
            do {
                let renewed = try await renewal()
                try credentials.save(renewed)
                return (renewed, nil)
            } catch {
                try Task.checkCancellation()
                guard isBeyondRenewal(svid, error) else { throw error }
                guard let file = settings.tokenFile, TextFile.exists(file) else { throw error }
                do {
                    return try await attest()
                } catch let second {
                    throw CommandFailure("\(explained(error, svid)); the token there does not help: \(second)")
                }
            }
        }
    }

    private func exclusively(_ body: () async throws -> Outcome) async throws -> Outcome {
        try await credentials.exclusively(log: { logger.warning("\($0)") }, body)
    }

    /// Longer where asking again will hardly help, and never shorter than the authority wants.
    func pause(after error: any Error, _ retry: inout RetrySchedule) -> Duration {
        guard case .denied(let denial)? = error as? AuthorityCallError else {
            return retry.next(draw: .random(in: 0..<1))
        }
        if denial.remedy == .stop { return retry.nextAfterDenial(draw: .random(in: 0..<1)) }
        return max(retry.next(draw: .random(in: 0..<1)), denial.retryAfter ?? .zero)
    }

    /// A fresh token is used at once, also one that came while `token`, read before the attempt, was being refused.
    func sleep(_ pause: Duration, havingTried token: String?) async throws {
        let end = ContinuousClock.now + pause
        while ContinuousClock.now < end, joinToken == token {
            try await Task.sleep(for: min(end - ContinuousClock.now, Self.tokenInterval))
        }
    }

    private static let tokenInterval = Duration.seconds(1)

    /// What the token's file holds now.
    var joinToken: String? {
        settings.tokenFile.flatMap { try? TextFile.read($0) }.map { String($0.prefix { !$0.isWhitespace }) }
    }

    private func isBeyondRenewal(_ svid: X509SVID, _ error: any Error) -> Bool {
        if case .denied(let denial)? = error as? AuthorityCallError {
            return denial.remedy == .attestAgain
        }
        // A handshake is refused without a reason.
        return svid.notAfter <= Date() || isDisowned(svid, error)
    }

    /// Whether what keeps `svid` from being renewed is that the authority does not know its root any more.
    func isDisowned(_ svid: X509SVID, _ error: any Error) -> Bool {
        guard case .unreachable? = error as? AuthorityCallError else { return false }
        return trust.current.disowns(svid, now: Date())
    }

    /// With what the operator has to do, where it is the operator who has to.
    func explained(_ error: any Error, _ svid: X509SVID?) -> String {
        advice(on: error, svid).map { "\(error); \($0)" } ?? "\(error)"
    }

    private func advice(on error: any Error, _ svid: X509SVID?) -> String? {
        if case .unrecognised? = error as? AuthorityCallError {
            return
                "if its root was replaced, put its present bundle (“culvert ca bundle” there) in \(settings.bundleFile)"
        }
        guard let svid, isDisowned(svid, error) else { return nil }
        // It attests again by itself, with the token that it is given.
        guard settings.kubernetesTokenFile == nil else { return nil }
        let place = settings.joinTokenFile ?? "a file that --join-token-file names"
        return "this node's certificate is under a root that was replaced: put a new join token "
            + "(“culvert ca token create --node \(settings.node)” there) in \(place)"
    }

    /// Not something that helps itself: the node can do nothing until the operator has done something.
    func isCutOff(_ error: any Error, _ svid: X509SVID?) -> Bool { advice(on: error, svid) != nil }

    func renewed(_ id: SPIFFEID, _ client: AuthorityClient) async throws -> X509SVID {
        let request = try IdentityRequest(uri: id.description)
        let certificates = try await client.renewNode(csr: request.csr)
        return try ReceivedSVID.check(
            certificates, key: request.key, identity: id, bundles: TrustBundleSet([try trust.forAuthority]), now: Date()
        )
    }

    /// Over a connection for this alone, made with the expired certificate.
    private func renewedAlone(_ svid: X509SVID) async throws -> X509SVID {
        let client = try AuthorityClient(
            address: settings.authority, trustDomain: settings.trustDomain, svid: svid,
            bundles: TrustBundleSet([try trust.forAuthority]))
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            defer { group.cancelAll() }
            let renewed = try await renewed(svid.id, client)
            logger.info(
                "Node certificate renewed after its end", metadata: ["until": "\(renewed.notAfter.formatted(.iso8601))"]
            )
            return renewed
        }
    }

    private var nodeID: SPIFFEID {
        get throws { try SPIFFEID(trustDomain: settings.trustDomain, path: "/culvert/node/\(settings.node)") }
    }

    private func attest() async throws -> Outcome {
        // Read at each attempt: the operator may put a fresh token where a used one was.
        guard let file = settings.tokenFile else {
            throw CommandFailure(
                "this node has no certificate yet, and neither --join-token-file nor --kubernetes-token-file was given")
        }
        let token = String(try TextFile.read(file).prefix { !$0.isWhitespace })
        let id = try nodeID
        let request = try IdentityRequest(uri: id.description)
        let attestor = NodeAttestor(address: settings.attestation, bundle: try trust.forAuthority)
        let attestation = try await attestor.attest(token: token, csr: request.csr)
        let svid = try ReceivedSVID.check(
            attestation.certificates, key: request.key, identity: id, bundles: TrustBundleSet([attestation.bundle]),
            now: Date())
        try credentials.save(svid)
        logger.info("Node attested", metadata: ["identity": "\(svid.id)"])
        return (svid, attestation.bundle)
    }
}
