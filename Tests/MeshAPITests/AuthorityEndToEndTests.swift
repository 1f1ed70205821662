import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import IPAddressing
import LinuxNetworking
import Logging
import NIOCore
import SPIFFE
import Synchronization
import Testing
import X509

@testable import MeshAPI

private typealias SocketAddress = IPAddressing.SocketAddress

/// Signs for `node-a`; answers by the pod's uid.
private struct SigningService: Culvert_Authority_V1_Authority.SimpleServiceProtocol {
    let authority: TestAuthority
    let reports = Reports()
    /// Whether it knows several requests in one call; how often it was asked so.
    var knowsBatches = true
    let batches = Count()

    final class Count: Sendable {
        private let state = Mutex(0)
        var value: Int { state.withLock { $0 } }
        func count() { state.withLock { $0 += 1 } }
    }

    final class Reports: Sendable {
        private let state = Mutex<[BundleReport]>([])
        var all: [BundleReport] { state.withLock { $0 } }
        func append(_ report: BundleReport) { state.withLock { $0.append(report) } }
    }

    func renewNode(
        request: Culvert_Authority_V1_RenewNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_RenewNodeResponse {
        let caller = try AuthorityCaller(context, now: Date())
        var response = Culvert_Authority_V1_RenewNodeResponse()
        response.certificateChain = [Data(try authority.signed([UInt8](request.csr), as: caller.id.path))]
        return response
    }

    func issueSVID(
        request: Culvert_Authority_V1_IssueSVIDRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDResponse {
        var response = Culvert_Authority_V1_IssueSVIDResponse()
        switch request.podUid {
        case "unknown": throw AuthorityDenial(.podUnknown, "pod unknown", retryAfter: .milliseconds(500))
        case "elsewhere": throw AuthorityDenial(.podNotOnNode, "pod elsewhere")
        case "silent": try await context.cancellation.cancelled
        case "empty": break
        case "garbage": response.certificateChain = [Data([1, 2, 3])]
        default:
            response.certificateChain = [Data(try authority.signed([UInt8](request.csr), as: "/ns/shop/sa/web"))]
        }
        return response
    }

    func issueSVIDs(
        request: Culvert_Authority_V1_IssueSVIDsRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDsResponse {
        // What gRPC says of a method that a server does not have.
        batches.count()
        guard knowsBatches else { throw RPCError(code: .unimplemented, message: "unknown method") }
        var response = Culvert_Authority_V1_IssueSVIDsResponse()
        for request in request.requests where request.podUid != "forgotten" {
            var outcome = Culvert_Authority_V1_IssueOutcome()
            do {
                outcome.svid = try await issueSVID(request: request, context: context)
            } catch let denial as AuthorityDenial {
                outcome.denial = Culvert_Authority_V1_IssueDenial(denial)
            }
            response.outcomes.append(request.podUid == "nothing" ? Culvert_Authority_V1_IssueOutcome() : outcome)
        }
        return response
    }

    func streamBundle(
        request: RPCAsyncSequence<Culvert_Authority_V1_BundleAcknowledgement, any Error>,
        response: RPCWriter<Culvert_Authority_V1_BundleUpdate>, context: ServerContext
    ) async throws {
        for try await message in request {
            reports.append(BundleReport(message))
            guard message.sequence < 7 else { continue }
            var update = Culvert_Authority_V1_BundleUpdate()
            update.bundle = Culvert_Authority_V1_Bundle(try authority.bundle)
            try await response.write(update)
        }
    }
}

private struct AttestingService: Culvert_Authority_V1_NodeAttestation.SimpleServiceProtocol {
    let authority: TestAuthority

    func attestNode(
        request: Culvert_Authority_V1_AttestNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_AttestNodeResponse {
        guard request.joinToken == "good" else { throw AuthorityDenial(.tokenUsed, "used already") }
        var response = Culvert_Authority_V1_AttestNodeResponse()
        response.certificateChain = [Data(try authority.signed([UInt8](request.csr), as: "/culvert/node/node-a"))]
        response.bundle = Culvert_Authority_V1_Bundle(try authority.bundle)
        return response
    }
}

@Suite("The authority over the network", .timeLimit(.minutes(2)))
struct AuthorityEndToEndTests {
    private let authority: TestAuthority
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let loopback: SocketAddress

    init() throws {
        authority = try TestAuthority(demo)
        loopback = SocketAddress(.loopback(.v4), port: 0)
    }

    /// Serves while `body` runs, and ends in an orderly way: a stream that arrives at a server which was cancelled is a fault of the
    /// library's.
    private func serving(
        _ transport: HTTP2ServerTransport.Posix, _ service: any RegistrableRPCService,
        _ body: (SocketAddress) async throws -> Void
    ) async throws {
        let server = GRPCServer(transport: transport, services: [service])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.serve() }
            defer { server.beginGracefulShutdown() }
            let listening = try await transport.listeningAddress
            let address =
                listening.ipv4.map { SocketAddress(.loopback(.v4), port: UInt16($0.port)) }
                ?? listening.ipv6.map { SocketAddress(.loopback(.v6), port: UInt16($0.port)) }
            try await body(try #require(address))
        }
    }

    private func authorityTransport(
        _ identity: ReplaceableIdentity, verifying: TestAuthority? = nil
    ) throws -> HTTP2ServerTransport.Posix {
        let verifier = PeerVerifier(bundles: TrustBundleSet([try (verifying ?? authority).bundle]))
        return try AuthorityTransport.authority(
            at: loopback, identity: identity, trustDomain: demo, verifier: { verifier }, logger: logger)
    }

    private func serverIdentity(_ path: String = "/culvert/authority") throws -> ReplaceableIdentity {
        try ReplaceableIdentity(try authority.svid(path))
    }

    /// A client with its connection, while `body` runs.
    private func calling(
        _ address: SocketAddress, as svid: X509SVID, trusting bundle: TrustBundle,
        _ body: (AuthorityClient) async throws -> Void
    ) async throws {
        let client = try AuthorityClient(
            address: address, trustDomain: demo, svid: svid, bundles: TrustBundleSet([bundle]))
        let task = Task { try await client.run() }
        try await body(client)
        task.cancel()
        _ = await task.result
    }

    private func issue(_ client: AuthorityClient, _ uid: String) async throws -> [Certificate] {
        try await client.issue(
            podUID: uid, identity: SPIFFEID("spiffe://culvert.demo/ns/shop/sa/web"), csr: signingRequest(),
            urgency: .firstUse)
    }

    @Test("a node with a token gets an SVID and the bundle")
    func attestation() async throws {
        let transport = try AuthorityTransport.attestation(at: loopback, identity: serverIdentity())
        try await serving(transport, AttestingService(authority: authority)) { address in
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            let attestation = try await attestor.attest(token: "good", csr: signingRequest())
            #expect(try attestation.certificates[0].spiffeID().path == "/culvert/node/node-a")
            #expect(attestation.bundle == (try authority.bundle))
            await #expect(throws: AuthorityCallError.denied(AuthorityDenial(.tokenUsed, "used already"))) {
                try await attestor.attest(token: "bad", csr: signingRequest())
            }
        }
    }

    @Test("a node does not show its token to a server of another authority, or to another workload of its own")
    func impostors() async throws {
        let stranger = try TestAuthority(demo)
        let transport = try AuthorityTransport.attestation(at: loopback, identity: serverIdentity())
        try await serving(transport, AttestingService(authority: authority)) { address in
            let attestor = NodeAttestor(address: address, bundle: try stranger.bundle)
            let error = await #expect(throws: AuthorityCallError.self) {
                try await attestor.attest(token: "good", csr: signingRequest())
            }
            #expect(error?.description.contains("no valid chain to an authority of culvert.demo") == true)
        }
        let workload = try AuthorityTransport.attestation(at: loopback, identity: serverIdentity("/ns/shop/sa/web"))
        try await serving(workload, AttestingService(authority: authority)) { address in
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            let error = await #expect(throws: AuthorityCallError.self) {
                try await attestor.attest(token: "good", csr: signingRequest())
            }
            #expect(error?.description.contains("not spiffe://culvert.demo/culvert/authority") == true)
        }
    }

    private func several(_ uids: [String]) throws -> [IssuanceRequest] {
        let identity = try SPIFFEID("spiffe://culvert.demo/ns/shop/sa/web")
        return try uids.map {
            IssuanceRequest(podUID: $0, identity: identity, csr: try signingRequest(), urgency: .renewal)
        }
    }

    private func kinds(_ outcomes: [Result<[Certificate], IssuanceError>]) -> [IssuanceError.Kind?] {
        outcomes.map { outcome in
            guard case .failure(let error) = outcome else { return nil }
            return error.kind
        }
    }

    @Test("several SVIDs are asked for in one call, and each has an outcome of its own")
    func batches() async throws {
        let service = SigningService(authority: authority)
        try await serving(authorityTransport(serverIdentity()), service) { address in
            try await calling(address, as: authority.svid("/culvert/node/node-a"), trusting: authority.bundle) {
                client in
                let asked = try several(["u1", "unknown", "elsewhere", "garbage", "u2", "nothing"])
                let outcomes = await client.issue(asked)
                #expect(
                    kinds(outcomes) == [nil, .retry(after: .milliseconds(500)), .denied, .denied, nil, .denied])
                for index in [0, 4] {
                    #expect(try outcomes[index].get()[0].publicKey == asked[index].csr.publicKey)
                }
                #expect(service.batches.value == 1)
                // One alone goes the old way, and so does nothing at all.
                #expect(kinds(await client.issue(try several(["u1"]))) == [nil])
                #expect(await client.issue([]).isEmpty)
                #expect(service.batches.value == 1)
                // An answer that does not say which outcome is whose is not used.
                let short = await client.issue(try several(["u1", "forgotten"]))
                #expect(kinds(short) == [.denied, .denied])
            }
        }
    }

    @Test("an authority of the version before is asked one by one, after it has been asked once for several")
    func olderAuthority() async throws {
        let service = SigningService(authority: authority, knowsBatches: false)
        try await serving(authorityTransport(serverIdentity()), service) { address in
            try await calling(address, as: authority.svid("/culvert/node/node-a"), trusting: authority.bundle) {
                client in
                for _ in 0..<3 {
                    let outcomes = await client.issue(try several(["u1", "elsewhere", "u2"]))
                    #expect(kinds(outcomes) == [nil, .denied, nil])
                }
                #expect(service.batches.value == 1)
                // Its successor may know more: asked once again after the connection was made anew.
                try client.replaceIdentity(with: authority.svid("/culvert/node/node-a"))
                #expect(kinds(await client.issue(try several(["u1", "u2"]))) == [nil, nil])
                #expect(service.batches.value == 2)
            }
        }
    }

    @Test("an attested node renews, gets SVIDs, and is told why not")
    func calls() async throws {
        let service = SigningService(authority: authority)
        try await serving(authorityTransport(serverIdentity()), service) { address in
            let svid = try authority.svid("/culvert/node/node-a")
            try await calling(address, as: svid, trusting: authority.bundle) { client in
                let renewed = try await client.renewNode(csr: signingRequest())
                #expect(try renewed[0].spiffeID().path == "/culvert/node/node-a")
                #expect(try await issue(client, "u1")[0].spiffeID().path == "/ns/shop/sa/web")
                await #expect(throws: IssuanceError(.retry(after: .milliseconds(500)), "pod unknown")) {
                    try await issue(client, "unknown")
                }
                await #expect(throws: IssuanceError(.denied, "pod elsewhere")) { try await issue(client, "elsewhere") }
                for uid in ["empty", "garbage"] {
                    await #expect(throws: IssuanceError.self) { try await issue(client, uid) }
                }
                let error = await #expect(throws: IssuanceError.self) {
                    try await client.issue(
                        podUID: "u1", identity: SPIFFEID("spiffe://culvert.demo/ns/shop/sa/other"),
                        csr: signingRequest(), urgency: .renewal)
                }
                #expect(error?.message.contains("another identity") == true)
            }
        }
    }

    @Test("a silent authority is unreachable after the deadline")
    func deadline() async throws {
        try await serving(authorityTransport(serverIdentity()), SigningService(authority: authority)) { address in
            let svid = try authority.svid("/culvert/node/node-a")
            try await calling(address, as: svid, trusting: authority.bundle) { client in
                let error = await #expect(throws: IssuanceError.self) { try await issue(client, "silent") }
                #expect(error?.kind == .unreachable)
            }
        }
    }

    @Test("an authority that is away is unreachable at once, and reached when it is there")
    func away() async throws {
        // Bound and closed: nobody listens there now.
        let address = try await freeAddress()
        let svid = try authority.svid("/culvert/node/node-a")
        try await calling(address, as: svid, trusting: authority.bundle) { client in
            let error = await #expect(throws: IssuanceError.self) { try await issue(client, "u1") }
            #expect(error?.kind == .unreachable)
            let verifier = PeerVerifier(bundles: TrustBundleSet([try authority.bundle]))
            let transport = try AuthorityTransport.authority(
                at: address, identity: serverIdentity(), trustDomain: demo, verifier: { verifier }, logger: logger)
            try await serving(transport, SigningService(authority: authority)) { _ in
                #expect(await eventually { (try? await issue(client, "u1")) != nil })
            }
        }
    }

    private func freeAddress() async throws -> SocketAddress {
        let listener = try TCPSocket.listen(on: loopback, dualStack: false, options: .init())
        return try #require(TCPSocket.localAddress(listener.raw))
    }

    @Test("a client of another authority, and one without a certificate, do not get past the handshake")
    func strangers() async throws {
        let stranger = try TestAuthority(demo)
        try await serving(authorityTransport(serverIdentity()), SigningService(authority: authority)) { address in
            try await calling(address, as: stranger.svid("/culvert/node/node-a"), trusting: authority.bundle) {
                client in
                let error = await #expect(throws: IssuanceError.self) { try await issue(client, "u1") }
                #expect(error?.kind == .unreachable)
            }
            // The attestation call presents no certificate; the mTLS port refuses it before any service is asked.
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            let error = await #expect(throws: AuthorityCallError.self) {
                try await attestor.attest(token: "good", csr: signingRequest())
            }
            guard case .unreachable = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
    }

    @Test("the bundle is streamed and acknowledged")
    func bundles() async throws {
        let service = SigningService(authority: authority)
        try await serving(authorityTransport(serverIdentity()), service) { address in
            let svid = try authority.svid("/culvert/node/node-a")
            try await calling(address, as: svid, trusting: authority.bundle) { client in
                let held = Mutex<TrustBundle?>(nil)
                let following = Task {
                    try await client.followBundle {
                        BundleReport(sequence: held.withLock { $0?.sequence ?? 0 }, version: "test", leaves: [])
                    } onUpdate: { update in
                        held.withLock { $0 = update.bundle }
                    }
                }
                #expect(await eventually { service.reports.all.map(\.sequence) == [0, 7] })
                let bundle = try authority.bundle
                #expect(held.withLock { $0 } == bundle)
                following.cancel()
                _ = await following.result
            }
        }
    }

    @Test("a replaced serving SVID counts from the next handshake on")
    func replacedIdentity() async throws {
        let identity = try serverIdentity("/ns/shop/sa/web")
        try await serving(authorityTransport(identity), SigningService(authority: authority)) { address in
            let svid = try authority.svid("/culvert/node/node-a")
            try await calling(address, as: svid, trusting: authority.bundle) { client in
                await #expect(throws: IssuanceError.self) { try await issue(client, "u1") }
                try identity.replace(with: try authority.svid("/culvert/authority"))
                #expect(await eventually { (try? await issue(client, "u1")) != nil })
            }
        }
    }

    @Test("port scans, plain HTTP and garbage do not end the server")
    func garbage() async throws {
        try await serving(authorityTransport(serverIdentity()), SigningService(authority: authority)) { address in
            let greetings = [
                "", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{16}\u{3}\u{1}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
            for round in 0..<200 {
                let connection = try TCPSocket.connect(to: address, options: .init())
                let greeting = Array(greetings[round % greetings.count].utf8)
                var descriptor = pollfd(fd: connection.raw, events: Int16(POLLOUT), revents: 0)
                poll(&descriptor, 1, 1000)
                _ = send(connection.raw, greeting, greeting.count, Int32(MSG_NOSIGNAL))
                if round % 3 == 0 {
                    var reset = linger(l_onoff: 1, l_linger: 0)
                    setsockopt(connection.raw, SOL_SOCKET, SO_LINGER, &reset, socklen_t(MemoryLayout<linger>.size))
                }
            }
            let svid = try authority.svid("/culvert/node/node-a")
            try await calling(address, as: svid, trusting: authority.bundle) { client in
                let chain = try await issue(client, "u1")
                #expect(chain.count == 1)
            }
        }
    }

    @Test("silent connections are closed in time, and those beyond the limit at once")
    func connectionBounds() async throws {
        let connections = ConnectionGuard(limit: 2, handshakeTimeout: .seconds(3))
        let transport = try AuthorityTransport.attestation(
            at: loopback, identity: serverIdentity(), connections: connections)
        try await serving(transport, AttestingService(authority: authority)) { address in
            let silent = try (0..<3).map { _ in try openConnection(to: address) }
            #expect(await eventually { silent.contains(where: isClosedByPeer) })
            #expect(silent.filter(isClosedByPeer).count == 1)
            #expect(await eventually { silent.allSatisfy(isClosedByPeer) })
            for descriptor in silent { close(descriptor) }
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            #expect(await eventually { (try? await attestor.attest(token: "good", csr: signingRequest())) != nil })
        }
    }

    private func openConnection(to address: SocketAddress) throws -> Int32 {
        try TCPSocket.connect(to: address, options: .init()).release()
    }

    private func isClosedByPeer(_ descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT))
        return count == 0 || (count < 0 && errno == ECONNRESET)
    }

    @Test("an authority on an IPv6 address is served and reached")
    func ipv6() async throws {
        let address = SocketAddress(.loopback(.v6), port: 0)
        let transport = try AuthorityTransport.attestation(at: address, identity: serverIdentity())
        try await serving(transport, AttestingService(authority: authority)) { address in
            #expect(address.ip.family == .v6)
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            _ = try await attestor.attest(token: "good", csr: signingRequest())
        }
    }

    @Test("a request over 1 MiB is refused")
    func largeRequest() async throws {
        let transport = try AuthorityTransport.attestation(at: loopback, identity: serverIdentity())
        try await serving(transport, AttestingService(authority: authority)) { address in
            let attestor = NodeAttestor(address: address, bundle: try authority.bundle)
            await #expect(throws: AuthorityCallError.self) {
                try await attestor.attest(
                    token: String(repeating: "t", count: AuthorityTransport.messageBytesMax), csr: signingRequest())
            }
            _ = try await attestor.attest(token: "good", csr: signingRequest())
        }
    }
}
