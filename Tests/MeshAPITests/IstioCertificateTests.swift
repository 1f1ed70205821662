import FoundationEssentials
import GRPCCore
import SPIFFE
import SwiftASN1
import SwiftProtobuf
import Testing
import X509

@testable import MeshAPI

/// Istio's CreateCertificate, as messages.
@Suite("Istio's certificate request and answer")
struct IstioCertificateTests {
    private static let identity = "spiffe://culvert.demo/ns/shop/sa/web"

    private func message(
        _ change: (inout Istio_V1_Auth_IstioCertificateRequest) throws -> Void = { _ in }
    ) throws -> Istio_V1_Auth_IstioCertificateRequest {
        let identity = try SPIFFEID(Self.identity)
        var message = try IstioCertificateRequest(csr: signingRequest(), identity: identity, lifetime: .seconds(86400))
            .message
        try change(&message)
        return message
    }

    @Test("has Istio's field numbers, and is read as it was written")
    func wire() throws {
        let message = try message { $0.csr = "C" }
        // csr = 1, validity_duration = 3, metadata = 4 { fields = 1 { key = 1, value = 2 { string_value = 3 } } }
        let metadata = bytes("0a") + entry("ImpersonatedIdentity", Self.identity)
        #expect(
            try [UInt8](message.serializedData() as Data)
                == bytes("0a0143 1880a305 22") + [UInt8(metadata.count)] + metadata)
        var answer = Istio_V1_Auth_IstioCertificateResponse()
        answer.certChain = ["A", "B"]
        #expect(try [UInt8](answer.serializedData() as Data) == bytes("0a0141 0a0142"))
        let csr = try signingRequest()
        let asked = try IstioCertificateRequest(csr: csr, identity: SPIFFEID(Self.identity), lifetime: .seconds(86400))
        #expect(try IstioCertificateRequest(asked.message) == asked)
        #expect(try CertificateSigningRequest(derEncoded: asked.csr) == csr)
    }

    /// With its length in front.
    private func entry(_ key: String, _ value: String) -> [UInt8] {
        let text = [0x1a, UInt8(value.utf8.count)] + Array(value.utf8)
        let entry = [0x0a, UInt8(key.utf8.count)] + Array(key.utf8) + [0x12, UInt8(text.count)] + text
        return [UInt8(entry.count)] + entry
    }

    struct Flaw: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let words: String
        let change: @Sendable (inout Istio_V1_Auth_IstioCertificateRequest) throws -> Void
    }

    private static func metadata(_ name: String, _ value: Google_Protobuf_Value) -> Flaw {
        Flaw(testDescription: name, words: "ImpersonatedIdentity") {
            $0.metadata.fields["ImpersonatedIdentity"] = value
        }
    }

    static let flaws: [Flaw] = [
        Flaw(testDescription: "no metadata", words: "no ImpersonatedIdentity") { $0.clearMetadata() },
        Flaw(testDescription: "another key", words: "no ImpersonatedIdentity") {
            $0.metadata.fields = ["impersonatedIdentity": Google_Protobuf_Value(stringValue: Self.identity)]
        },
        metadata("a number", Google_Protobuf_Value(numberValue: 1)),
        metadata("nothing", Google_Protobuf_Value()),
        metadata("an empty name", Google_Protobuf_Value(stringValue: "")),
        metadata("no SPIFFE ID", Google_Protobuf_Value(stringValue: "https://culvert.demo/ns/shop/sa/web")),
        metadata("capitals", Google_Protobuf_Value(stringValue: "spiffe://Culvert.demo/ns/shop/sa/web")),
        metadata(
            "a long name", Google_Protobuf_Value(stringValue: Self.identity + String(repeating: "a", count: 2048))),
        Flaw(testDescription: "no csr", words: "CERTIFICATE REQUEST") { $0.csr = "" },
        Flaw(testDescription: "a csr that is not PEM", words: "CERTIFICATE REQUEST") { $0.csr = "MIIB" },
        Flaw(testDescription: "a certificate instead", words: "CERTIFICATE REQUEST") {
            $0.csr = PEMText.block("CERTIFICATE", [1, 2, 3])
        },
        Flaw(testDescription: "two requests", words: "not one") { $0.csr += $0.csr },
        Flaw(testDescription: "a request that is not finished", words: "csr") { $0.csr.removeLast(20) },
        Flaw(testDescription: "an oversize request", words: "at most 16384") {
            $0.csr += String(repeating: " ", count: 16 << 10)
        },
        Flaw(testDescription: "a lifetime below zero", words: "validity_duration") { $0.validityDuration = -1 },
        Flaw(testDescription: "a lifetime of a second", words: "validity_duration") { $0.validityDuration = 1 },
        Flaw(testDescription: "a lifetime over 90 days", words: "validity_duration") {
            $0.validityDuration = 90 * 86400 + 1
        },
        Flaw(testDescription: "the longest number", words: "validity_duration") { $0.validityDuration = .max },
    ]

    @Test("with a flaw is refused, and the flaw is named", arguments: flaws)
    func refused(flaw: Flaw) throws {
        let message = try message { try flaw.change(&$0) }
        let denial = #expect(throws: AuthorityDenial.self) { try IstioCertificateRequest(message) }
        #expect(denial?.rpcErrorCode == .invalidArgument)
        #expect(denial?.message.contains(flaw.words) == true, "\(denial?.message ?? "")")
    }

    @Test("without a lifetime leaves it to the authority")
    func withoutLifetime() throws {
        #expect(try IstioCertificateRequest(message { $0.validityDuration = 0 }).lifetime == nil)
    }

    // MARK: The answer

    @Test("the answer is the leaf, what stands between, and the roots together at the end")
    func answer() throws {
        let authority = try TestAuthority(demo)
        let root = try authority.bundle.authorities[0]
        let other = try TestAuthority(demo).bundle.authorities[0]
        let leaf = try authority.svid("/ns/shop/sa/web").leaf
        let answer = IstioCertificateAnswer(certificates: [leaf], roots: [root, other])
        #expect(answer.message.certChain == [leaf.pem(), root.pem() + other.pem()])
        #expect(try IstioCertificateAnswer(answer.message) == answer)
    }

    @Test("a chain in one piece is read, and a root in it left out")
    func istioChain() throws {
        let authority = try TestAuthority(demo)
        let root = try authority.bundle.authorities[0]
        let middle = try TestAuthority(demo).bundle.authorities[0]
        let leaf = try authority.svid("/ns/shop/sa/web").leaf
        var message = Istio_V1_Auth_IstioCertificateResponse()
        message.certChain = [leaf.pem(), middle.pem() + root.pem(), root.pem()]
        let answer = try IstioCertificateAnswer(message)
        #expect(answer.certificates == [leaf, middle])
        #expect(answer.roots == [root])
    }

    @Test("an answer that is none is refused whole")
    func badAnswers() throws {
        let authority = try TestAuthority(demo)
        let root = try authority.bundle.authorities[0].pem()
        let leaf = try authority.svid("/ns/shop/sa/web").leaf.pem()
        let chains: [[String]] = [
            [], [leaf], ["", root], [leaf, ""], [leaf + leaf, root], [leaf, "x", root],
            [leaf, PEMText.block("CERTIFICATE", [1, 2, 3])], [leaf, PEMText.block("PRIVATE KEY", [1, 2, 3])],
            [leaf] + Array(repeating: leaf, count: 20) + [root], [leaf, String(repeating: leaf, count: 20), root],
            [leaf, root + String(repeating: " ", count: 1 << 20)], [leaf, String(repeating: root, count: 257)],
        ]
        for chain in chains {
            var message = Istio_V1_Auth_IstioCertificateResponse()
            message.certChain = chain
            #expect(throws: AuthorityCallError.self) { try IstioCertificateAnswer(message) }
        }
    }

    // MARK: Statuses

    @Test(
        "a status says whether to ask again soon, much later, or when the authority can be reached",
        arguments: [
            (RPCError.Code.unauthenticated, IssuanceError.Kind.retry(after: nil)), (.notFound, .retry(after: nil)),
            (.resourceExhausted, .retry(after: nil)), (.internalError, .retry(after: nil)),
            (.unknown, .retry(after: nil)), (.aborted, .retry(after: nil)), (.invalidArgument, .denied),
            (.permissionDenied, .denied), (.failedPrecondition, .denied), (.unimplemented, .denied),
            (.unavailable, .unreachable), (.deadlineExceeded, .unreachable),
        ])
    func statuses(code: RPCError.Code, kind: IssuanceError.Kind) {
        let error = IstioCertificateClient.issuanceError(RPCError(code: code, message: "because"))
        #expect(error.kind == kind)
        #expect(error.message.contains("because"))
    }

    @Test("when an authority says how long to wait, that long is waited")
    func directedRetry() {
        let denial = AuthorityDenial(.rateLimited, "slowly", retryAfter: .seconds(7))
        #expect(IstioCertificateClient.issuanceError(RPCError(denial)).kind == .retry(after: .seconds(7)))
    }
}
