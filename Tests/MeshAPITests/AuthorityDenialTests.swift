import GRPCCore
import SPIFFE
import Testing

@testable import MeshAPI

@Suite("The authority's refusals")
struct AuthorityDenialTests {
    @Test("every reason survives the way through a gRPC error", arguments: AuthorityDenial.Reason.allCases)
    func roundTrip(reason: AuthorityDenial.Reason) {
        let denial = AuthorityDenial(reason, "because of “this”", retryAfter: .milliseconds(1500))
        #expect(AuthorityDenial(RPCError(denial)) == denial)
        let plain = AuthorityDenial(reason, "no")
        #expect(AuthorityDenial(RPCError(plain)) == plain)
    }

    @Test("other errors are not refusals", arguments: [[:], ["culvert-denial": "x"], ["culvert-denial": ""]])
    func others(trailers: [String: String]) {
        var metadata = Metadata()
        for (key, value) in trailers { metadata.addString(value, forKey: key) }
        #expect(AuthorityDenial(RPCError(code: .notFound, message: "", metadata: metadata)) == nil)
    }

    @Test("a reason of a newer authority is kept as it is, and final")
    func newer() throws {
        let denial = try #require(
            AuthorityDenial(RPCError(code: .unknown, message: "m", metadata: ["culvert-denial": "99"])))
        #expect(denial.reason == .UNRECOGNIZED(99))
        #expect(denial.remedy == .stop)
    }

    @Test(
        "a wait is bounded and never negative",
        arguments: [("-1", nil), ("x", nil), ("9223372036854775807", .seconds(3600)), ("250", .milliseconds(250))]
            as [(String, Duration?)])
    func wait(text: String, expected: Duration?) throws {
        let error = RPCError(
            code: .unknown, message: "m", metadata: ["culvert-denial": "8", "culvert-retry-after-ms": "\(text)"])
        #expect(try #require(AuthorityDenial(error)).retryAfter == expected)
    }

    @Test("a wait is rounded up to whole milliseconds")
    func rounding() {
        let denial = AuthorityDenial(.rateLimited, "m", retryAfter: .microseconds(1001))
        #expect(AuthorityDenial(RPCError(denial))?.retryAfter == .milliseconds(2))
    }

    @Test(
        "each refusal makes the client do the right thing",
        arguments: [
            (.podUnknown, .retry(after: .seconds(2))), (.tooManyIdentities, .retry(after: .seconds(2))),
            (.rateLimited, .slowDown(.seconds(2))), (.caNotReady, .slowDown(.seconds(2))),
            (.notAttested, .attestAgain), (.expired, .attestAgain), (.superseded, .attestAgain),
            (.podTerminated, .ended), (.podNotOnNode, .denied), (.invalidRequest, .denied),
            (.banned, .slowDown(AuthorityCallError.bannedPause)), (.tokenUsed, .denied), (.UNRECOGNIZED(99), .denied),
        ] as [(AuthorityDenial.Reason, IssuanceError.Kind)])
    func kinds(reason: AuthorityDenial.Reason, kind: IssuanceError.Kind) {
        let denial = AuthorityDenial(reason, "", retryAfter: .seconds(2))
        #expect(AuthorityCallError.denied(denial).issuanceError.kind == kind)
    }

    @Test("no answer, and one that is no use, are no refusals")
    func failures() {
        #expect(AuthorityCallError.unreachable("").issuanceError.kind == .unreachable)
        #expect(AuthorityCallError.invalidAnswer("").issuanceError.kind == .denied)
    }
}
