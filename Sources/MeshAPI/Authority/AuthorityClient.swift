import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import SPIFFE
import SwiftASN1
import Synchronization
public import X509

/// An attested node's calls to the authority, over mTLS with the node's SVID.
///
/// Calls are made while `run` runs, over one connection that is made again when lost, and when the node's SVID is replaced: the authority
/// goes by the SVID that a connection was made with. Each call has a deadline.
public final class AuthorityClient: Sendable {
    static let callTimeout = Duration.seconds(10)
    /// How often the authority is told of the node's leaves when nothing else happens.
    static let reportInterval = Duration.seconds(60)

    private let trustDomain: TrustDomain
    private let identity: ReplaceableIdentity
    private let verifier: ReplaceableVerifier
    let check: PeerCheck
    let connection: Mutex<Connection>
    private let connections: AsyncStream<GRPCClient<HTTP2ClientTransport.Posix>>
    private let toRun: AsyncStream<GRPCClient<HTTP2ClientTransport.Posix>>.Continuation
    private let connect: @Sendable () throws -> GRPCClient<HTTP2ClientTransport.Posix>

    struct Connection {
        let client: GRPCClient<HTTP2ClientTransport.Posix>
        /// Of the bundle's stream that runs over it: what the node has to say.
        var stream: AsyncStream<Void>.Continuation?
        /// The authority is of the version before, and is asked for one SVID at a time.
        var asksSingly = false
    }

    /// Throws when the TLS library does not take the SVID.
    public init(
        address: IPAddressing.SocketAddress, trustDomain: TrustDomain, svid: X509SVID, bundles: TrustBundleSet
    ) throws {
        self.trustDomain = trustDomain
        identity = try ReplaceableIdentity(svid)
        verifier = ReplaceableVerifier(bundles)
        check = try AuthorityConnection.check(trustDomain, verifier)
        connect = { [identity, check] in
            let security = try HTTP2ClientTransport.Posix.TransportSecurity.mTLS(certificateReloader: identity) {
                AuthorityConnection.configure(&$0, check)
            }
            return GRPCClient(transport: try AuthorityConnection.transport(to: address, security))
        }
        let client = try connect()
        connection = Mutex(Connection(client: client))
        (connections, toRun) = AsyncStream.makeStream()
        toRun.yield(client)
    }

    /// Keeps the connection until the task is cancelled. To be run once.
    public func run() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for await client in connections {
                group.addTask {
                    do {
                        try await client.runConnections()
                    } catch let error as RuntimeError where error.code == .clientIsStopped {
                        // Replaced before it began.
                    }
                }
            }
        }
    }

    /// The node's SVID was renewed: calls from now on go over a connection that proves it, and the bundle's stream is to be followed
    /// anew. Calls that are under way end on the old connection.
    public func replaceIdentity(with svid: X509SVID) throws {
        try identity.replace(with: svid)
        let next = try connect()
        let previous = connection.withLock { connection in
            defer { connection = Connection(client: next) }
            return connection
        }
        toRun.yield(next)
        previous.stream?.finish()
        previous.client.beginGracefulShutdown()
    }

    /// The next connection is verified with these.
    public func replaceBundles(with bundles: TrustBundleSet) { verifier.replace(with: bundles) }

    /// A new chain for the node itself, leaf first.
    public func renewNode(csr: CertificateSigningRequest) async throws(AuthorityCallError) -> [Certificate] {
        var request = Culvert_Authority_V1_RenewNodeRequest()
        request.csr = try AuthorityConnection.der(csr)
        do {
            let response = try await service.renewNode(request, options: AuthorityConnection.callOptions)
            return try [Certificate](chain: response.certificateChain)
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal)
        }
    }

    var service: Culvert_Authority_V1_Authority.Client<HTTP2ClientTransport.Posix> {
        Culvert_Authority_V1_Authority.Client(wrapping: connection.withLock { $0.client })
    }

    /// For a stream that asks until `outbox` ends, which it does with the connection; the authority then ends the stream.
    private func service(
        endingWithConnection outbox: AsyncStream<Void>.Continuation
    ) -> Culvert_Authority_V1_Authority.Client<HTTP2ClientTransport.Posix> {
        let client = connection.withLock { connection in
            connection.stream = outbox
            return connection.client
        }
        return Culvert_Authority_V1_Authority.Client(wrapping: client)
    }
}

extension AuthorityClient {
    /// Has the authority told of what there is now, if the trust bundle is being followed.
    public func reportSoon() { connection.withLock { _ = $0.stream?.yield() } }

    /// Follows the trust bundle until the connection or the task ends, or the SVID is replaced; the caller calls again after a pause.
    /// One call at a time.
    ///
    /// `report` is asked at the start, after each `onUpdate`, every minute, and after `reportSoon`; its sequence is the bundle in use.
    public func followBundle(
        report: @escaping @Sendable () async -> BundleReport,
        onUpdate: @escaping @Sendable (TrustUpdate) async -> Void
    ) async throws(AuthorityCallError) {
        let (reports, outbox) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        outbox.yield()
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = TrustUpdate.messageBytesMax
        let service = service(endingWithConnection: outbox)
        do {
            try await service.streamBundle(options: options) { writer in
                for await _ in reports {
                    try await writer.write(Culvert_Authority_V1_BundleAcknowledgement(await report()))
                }
            } onResponse: { [trustDomain] response in
                defer { outbox.finish() }
                let clock = Task {
                    while !Task.isCancelled {
                        try await Task.sleep(for: Self.reportInterval)
                        outbox.yield()
                    }
                }
                defer { clock.cancel() }
                for try await update in response.messages {
                    await onUpdate(try TrustUpdate(update, of: trustDomain))
                    outbox.yield()
                }
            }
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal)
        }
    }
}

extension Culvert_Authority_V1_Urgency {
    init(_ urgency: IssuanceUrgency) {
        switch urgency {
        case .background: self = .background
        case .renewal: self = .renewal
        case .firstUse: self = .firstUse
        }
    }
}

extension IssuanceUrgency {
    /// What a client says that this server does not know is not urgent.
    public init(_ urgency: Culvert_Authority_V1_Urgency) {
        switch urgency {
        case .firstUse: self = .firstUse
        case .renewal: self = .renewal
        case .background, .UNRECOGNIZED: self = .background
        }
    }
}
