import Authority
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Observability
import SPIFFE
import SwiftProtobuf
import Testing
import WorkloadIdentity
import X509

@testable import MeshAPI
@testable import culvert

/// What a later version may add: fields with numbers that this one does not know, of every type on the wire.
private enum NewerFields {
    static let bytes: [UInt8] =
        field(1000, 0, [5]) + field(1001, 1, [UInt8](repeating: 1, count: 8)) + field(1002, 2, [3, 0x61, 0x62, 0x63])
        + field(1003, 3, field(1, 0, [1]) + field(1003, 4, [])) + field(1004, 5, [1, 2, 3, 4])
        + field(536_870_911, 2, [0])

    static func field(_ number: UInt64, _ type: UInt64, _ content: [UInt8]) -> [UInt8] {
        var (tag, bytes) = (number << 3 | type, [UInt8]())
        while tag > 127 {
            bytes.append(UInt8(tag & 127) | 128)
            tag >>= 7
        }
        return bytes + [UInt8(tag)] + content
    }
}

extension SwiftProtobuf.Message {
    /// As a later version may send it.
    fileprivate func newer() throws -> Self {
        try Self(serializedBytes: try serializedBytes() as [UInt8] + NewerFields.bytes)
    }
}

private enum OtherVersion: CaseIterable {
    /// Without what was added after the first version.
    case older
    case newer

    func skewed(_ bundle: Culvert_Authority_V1_Bundle) throws -> Culvert_Authority_V1_Bundle {
        guard self == .older else { return try bundle.newer() }
        var bundle = bundle
        bundle.refreshHintSeconds = 0
        bundle.revocationLists = []
        return bundle
    }
}

private struct SkewedAttestation: Culvert_Authority_V1_NodeAttestation.SimpleServiceProtocol {
    let authority: CertificateAuthority
    let version: OtherVersion

    func attestNode(
        request: Culvert_Authority_V1_AttestNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_AttestNodeResponse {
        var answer = try await NodeAttestationService(authority: authority).attestNode(
            request: request, context: context)
        answer.bundle = try version.skewed(answer.bundle)
        return version == .older ? answer : try answer.newer()
    }
}

/// An authority of another version: what it sends is changed on its way out.
private struct SkewedAuthority: Culvert_Authority_V1_Authority.SimpleServiceProtocol {
    let authority: CertificateAuthority
    let version: OtherVersion

    private var service: AuthorityService { AuthorityService(authority: authority) }

    func renewNode(
        request: Culvert_Authority_V1_RenewNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_RenewNodeResponse {
        let answer = try await service.renewNode(request: request, context: context)
        return version == .older ? answer : try answer.newer()
    }

    func issueSVID(
        request: Culvert_Authority_V1_IssueSVIDRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDResponse {
        var answer = try await service.issueSVID(request: request, context: context)
        guard version == .older else { return try answer.newer() }
        answer.spiffeID = ""
        return answer
    }

    /// The version before has no such call.
    func issueSVIDs(
        request: Culvert_Authority_V1_IssueSVIDsRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDsResponse {
        guard version == .newer else { throw RPCError(code: .unimplemented, message: "unknown method") }
        return try await service.issueSVIDs(request: request, context: context).newer()
    }

    func streamBundle(
        request: RPCAsyncSequence<Culvert_Authority_V1_BundleAcknowledgement, any Error>,
        response: RPCWriter<Culvert_Authority_V1_BundleUpdate>, context: ServerContext
    ) async throws {
        let writer = Writer(next: response) { update in
            var update = update
            update.bundle = try version.skewed(update.bundle)
            guard version == .older else { return try update.newer() }
            update.taintedAuthorities = []
            update.federated = []
            return update
        }
        try await service.streamBundle(request: request, response: RPCWriter(wrapping: writer), context: context)
    }

    private struct Writer: RPCWriterProtocol {
        typealias Element = Culvert_Authority_V1_BundleUpdate
        let next: RPCWriter<Element>
        let change: @Sendable (Element) throws -> Element

        func write(_ element: Element) async throws { try await next.write(try change(element)) }
        func write(contentsOf elements: some Sequence<Element>) async throws {
            for element in elements { try await write(element) }
        }
    }
}

/// Nodes and authority are upgraded one after the other: each understands the other's version before and after its own.
@Suite("Versions beside each other", .timeLimit(.minutes(2)))
struct VersionSkewTests {
    /// Every message of the authority's own protocols and of Istio's.
    private static let messages: [any SwiftProtobuf.Message.Type] = [
        Culvert_Authority_V1_AttestNodeRequest.self, Culvert_Authority_V1_AttestNodeResponse.self,
        Culvert_Authority_V1_AuthorityLeaves.self, Culvert_Authority_V1_AuthorityStatus.self,
        Culvert_Authority_V1_Bundle.self, Culvert_Authority_V1_BundleAcknowledgement.self,
        Culvert_Authority_V1_BundleUpdate.self, Culvert_Authority_V1_CreateJoinTokenRequest.self,
        Culvert_Authority_V1_CreateJoinTokenResponse.self, Culvert_Authority_V1_ExamineRequest.self,
        Culvert_Authority_V1_ExamineResponse.self, Culvert_Authority_V1_FederatedDomain.self,
        Culvert_Authority_V1_Finding.self,
        Culvert_Authority_V1_GetBundleRequest.self, Culvert_Authority_V1_GetBundleResponse.self,
        Culvert_Authority_V1_IssueDenial.self, Culvert_Authority_V1_IssueOutcome.self,
        Culvert_Authority_V1_IssueSVIDRequest.self, Culvert_Authority_V1_IssueSVIDResponse.self,
        Culvert_Authority_V1_IssueSVIDsRequest.self, Culvert_Authority_V1_IssueSVIDsResponse.self,
        Culvert_Authority_V1_ListNodesRequest.self, Culvert_Authority_V1_ListNodesResponse.self,
        Culvert_Authority_V1_MintRequest.self, Culvert_Authority_V1_MintResponse.self,
        Culvert_Authority_V1_Node.self, Culvert_Authority_V1_NodeActRequest.self,
        Culvert_Authority_V1_NodeActResponse.self, Culvert_Authority_V1_NodeBan.self,
        Culvert_Authority_V1_NodeLeaves.self, Culvert_Authority_V1_NodeReport.self,
        Culvert_Authority_V1_NodeStatus.self, Culvert_Authority_V1_RenewNodeRequest.self,
        Culvert_Authority_V1_RenewNodeResponse.self, Culvert_Authority_V1_RotateRequest.self,
        Culvert_Authority_V1_RotateResponse.self, Culvert_Authority_V1_RotationStep.self,
        Culvert_Authority_V1_RotationUnderWay.self, Culvert_Authority_V1_RotationWait.self,
        Culvert_Authority_V1_ShowNodeRequest.self, Culvert_Authority_V1_ShowNodeResponse.self,
        Culvert_Authority_V1_Signature.self, Culvert_Authority_V1_StatusRequest.self,
        Culvert_Authority_V1_StatusResponse.self, Istio_V1_Auth_IstioCertificateRequest.self,
        Istio_V1_Auth_IstioCertificateResponse.self,
    ]

    @Test("the table below has every message of the protocols")
    func complete() throws {
        let protocols = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/MeshAPI/Proto").path()
        var names: Set<String> = []
        for directory in ["culvert/authority/v1", "istio/v1/auth"] {
            for file in try FileManager.default.contentsOfDirectory(atPath: "\(protocols)/\(directory)") {
                let lines = try TextFile.read("\(protocols)/\(directory)/\(file)").split(separator: "\n")
                let package = try #require(lines.first { $0.hasPrefix("package ") }).dropFirst(8).dropLast()
                for line in lines where line.hasPrefix("message ") {
                    names.insert("\(package).\(line.split(separator: " ")[1].prefix { $0 != "{" })")
                }
            }
        }
        #expect(Set(Self.messages.map { $0.protoMessageName }) == names)
    }

    @Test(
        "what a later version adds to a message is passed over and kept; what an earlier one leaves out is as if it were empty"
    )
    func messageTable() throws {
        for type in Self.messages { try check(type) }
    }

    private func check(_ type: any SwiftProtobuf.Message.Type) throws {
        func opened<M: SwiftProtobuf.Message>(_ type: M.Type) throws {
            #expect(try M(serializedBytes: [UInt8]()).isEqualTo(message: M()))
            var newer = try M().newer()
            #expect(try newer.serializedBytes() as [UInt8] == NewerFields.bytes, "\(type)")
            newer.unknownFields = UnknownStorage()
            #expect(newer.isEqualTo(message: M()), "\(type)")
            // Cut anywhere, and every field as every type: refused or read, and nothing worse.
            for count in NewerFields.bytes.indices { _ = try? M(serializedBytes: Array(NewerFields.bytes[..<count])) }
            for number in UInt64(1)...32 {
                for kind in UInt64(0)...7 {
                    _ = try? M(serializedBytes: NewerFields.field(number, kind, [2, 8, 1, 0, 0, 0, 0, 0, 0]))
                }
            }
        }
        try opened(type)
    }

    // MARK: Nodes of another version

    private typealias Connection = GRPCClient<HTTP2ClientTransport.Posix>

    private func connected(
        _ rig: AuthorityRig, as svid: X509SVID, _ body: @Sendable (Connection) async throws -> Void
    ) async throws {
        let verifier = ReplaceableVerifier(TrustBundleSet([rig.authority.bundle.current]))
        let check = try AuthorityConnection.check(AuthorityRig.trustDomain, verifier)
        let security = try HTTP2ClientTransport.Posix.TransportSecurity.mTLS(
            certificateReloader: ReplaceableIdentity(svid)
        ) { AuthorityConnection.configure(&$0, check) }
        try await withGRPCClient(transport: AuthorityConnection.transport(to: rig.nodes, security), handleClient: body)
    }

    private func denial(_ body: () async throws -> Void) async -> AuthorityDenial.Reason? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? RPCError).flatMap { AuthorityDenial($0) }?.reason
        }
    }

    @Test("a node of a later or an earlier version attests, renews, is issued to, follows the bundle and is heard")
    func nodes() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            let svid = try await rig.attested("node-a")
            try await connected(rig, as: svid) { connection in
                let service = Culvert_Authority_V1_Authority.Client(wrapping: connection)
                let csr = try AuthorityConnection.der(
                    IdentityRequest(uri: "spiffe://culvert.test/ns/shop/sa/web").csr)
                var issue = Culvert_Authority_V1_IssueSVIDRequest()
                (issue.podUid, issue.csr) = ("web", csr)
                // The earlier one says nothing of urgency, the later one something new.
                #expect(try await service.issueSVID(issue).certificateChain.count == 2)
                issue.urgency = .UNRECOGNIZED(9)
                #expect(try await service.issueSVID(try issue.newer()).certificateChain.count == 2)
                var renew = Culvert_Authority_V1_RenewNodeRequest()
                renew.csr = csr
                #expect(try await service.renewNode(try renew.newer()).certificateChain.count == 2)

                var said = Culvert_Authority_V1_BundleAcknowledgement()
                said.sequence = 1
                var leaves = Culvert_Authority_V1_AuthorityLeaves()
                leaves.authorityID = "ab"
                leaves.count = 3
                said.leaves = [try leaves.newer()]
                for message in [said, try said.newer()] {
                    let received = try await service.streamBundle { writer in
                        try await writer.write(message)
                    } onResponse: { response in
                        for try await update in response.messages { return update.bundle.sequence }
                        return 0
                    }
                    #expect(received == 1)
                    #expect(await eventually { (try? rig.record("node-a"))?.acknowledgement?.leafCount == 3 })
                }
                #expect(try rig.record("node-a")?.acknowledgement?.version == "")
            }
        }
    }

    @Test("a request of which everything is missing has the denial that says what, on every call")
    func emptyRequests() async throws {
        try await AuthorityRig.running(
            serving: { authority in
                let istio = IstioCertificateService(
                    authority: authority, authenticator: CertificateNodeAuthenticator())
                return (
                    [NodeAttestationService(authority: authority)], [AuthorityService(authority: authority), istio]
                )
            }
        ) { rig in
            let svid = try await rig.attested("node-a")
            try await connected(rig, as: svid) { connection in
                let service = Culvert_Authority_V1_Authority.Client(wrapping: connection)
                #expect(await denial { _ = try await service.issueSVID(.init()) } == .podUnknown)
                #expect(await denial { _ = try await service.renewNode(.init()) } == .invalidRequest)
                let istio = Istio_V1_Auth_IstioCertificateService.Client(wrapping: connection)
                #expect(await denial { _ = try await istio.createCertificate(.init()) } == .invalidRequest)
            }
            let error = await #expect(throws: AuthorityCallError.self) {
                try await NodeAttestor(address: rig.attestation, bundle: rig.authority.bundle.current).attest(
                    token: "", csr: try IdentityRequest(uri: svid.id.description).csr)
            }
            guard case .denied(let denial)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(denial.reason == .tokenUnknown)
            let socket = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: rig.adminSocket), transportSecurity: .plaintext)
            try await withGRPCClient(transport: socket) { connection in
                let admin = Culvert_Authority_V1_AuthorityAdmin.Client(wrapping: connection)
                let nodes = Culvert_Authority_V1_NodeAdmin.Client(wrapping: connection)
                #expect(try await admin.status(try .init().newer()).trustDomain == "culvert.test")
                var newer = Culvert_Authority_V1_RotateRequest()
                newer.command = .UNRECOGNIZED(99)
                var refused = 0
                for call in [
                    { _ = try await admin.createJoinToken(.init()) }, { _ = try await admin.rotate(.init()) },
                    { [newer] in _ = try await admin.rotate(newer) }, { _ = try await nodes.showNode(.init()) },
                    { _ = try await nodes.banNode(.init()) }, { _ = try await nodes.unbanNode(.init()) },
                    { _ = try await nodes.evictNode(.init()) },
                ] as [@Sendable () async throws -> Void] {
                    do { try await call() } catch let error as RPCError {
                        if error.code == .invalidArgument { refused += 1 }
                    }
                }
                #expect(refused == 7)
            }
        }
    }

    // MARK: An authority of another version

    @Test(
        "a node attests, renews and serves with an authority of a later or an earlier version",
        arguments: OtherVersion.allCases)
    fileprivate func authorities(version: OtherVersion) async throws {
        try await AuthorityRig.running(
            serving: { authority in
                (
                    [SkewedAttestation(authority: authority, version: version)],
                    [SkewedAuthority(authority: authority, version: version)]
                )
            }
        ) { rig in
            rig.pods.set("web", on: "node-a")
            let token = "\(rig.directory)/token"
            try TextFile.write(token, try await rig.token("node-a"))
            let session = AuthoritySession(
                settings: .init(
                    node: "node-a", trustDomain: AuthorityRig.trustDomain, authority: rig.nodes,
                    attestation: rig.attestation, bundle: rig.authority.bundle.current,
                    bundleFile: "\(rig.directory)/bundle.pem", joinTokenFile: token,
                    stateDirectory: "\(rig.directory)/state"), leaves: LeafRegister(),
                readiness: Readiness(conditions: [ProxyNode.Condition.authority]), logger: AuthorityRig.silent,
                onTrust: { _ in })
            let running = Task { try await session.run { _ in } }
            defer { running.cancel() }
            #expect(await eventually { (try? rig.record("node-a"))?.acknowledgement?.sequence == 1 })
            let web = try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web")
            let chain = try await session.issue(
                podUID: "web", identity: web, csr: IdentityRequest(uri: web.description).csr, urgency: .firstUse)
            #expect(try chain[0].spiffeID() == web)
            let svid = try #require(session.nodeSVID)
            try await rig.calling(as: svid) { client in
                let renewed = try await client.renewed(svid)
                #expect(renewed.id == svid.id && renewed.serialNumber != svid.serialNumber)
            }
            // A bundle that changes is taken over, too.
            #expect(try await rig.authority.rotate(.prepare).refusal == nil)
            #expect(await eventually { (try? rig.record("node-a"))?.acknowledgement?.sequence == 2 })
        }
    }
}
