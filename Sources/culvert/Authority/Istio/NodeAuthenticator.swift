import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI

/// Proves for which node a caller of Istio's CreateCertificate speaks. Kubernetes' own tokens will be one more way.
protocol NodeAuthenticator: Sendable {
    func caller(_ metadata: Metadata, _ context: ServerContext) async throws(AuthorityDenial) -> IssuanceCaller
}

/// By the node's SVID, which the transport has verified. No token counts beside it.
struct CertificateNodeAuthenticator: NodeAuthenticator {
    func caller(_ metadata: Metadata, _ context: ServerContext) async throws(AuthorityDenial) -> IssuanceCaller {
        .attested(NodeCaller(try AuthorityCaller(context, now: Date())))
    }
}

/// By `authorization: Bearer`, with a join token.
struct TokenNodeAuthenticator: NodeAuthenticator {
    let authority: CertificateAuthority

    func caller(_ metadata: Metadata, _ context: ServerContext) async throws(AuthorityDenial) -> IssuanceCaller {
        let source = NodeAttestationService.host(of: context.remotePeer)
        do throws(Denial) {
            return .bearer(try await authority.node(bearing: Self.token(metadata), source: source))
        } catch {
            throw Self.answer(error)
        }
    }

    /// Who holds no good token is a stranger, whatever is wrong with it.
    private static func answer(_ denial: Denial) -> AuthorityDenial {
        switch denial {
        case .rateLimited, .notReady: AuthorityDenial(denial)
        default: AuthorityDenial(.notAttested, "\(denial)")
        }
    }

    /// Empty, which is nobody's, unless there is exactly one.
    static func token(_ metadata: Metadata) -> String {
        let values = Array(metadata[stringValues: "authorization"])
        guard values.count == 1 else { return "" }
        let words = values[0].split(separator: " ", maxSplits: 1)
        guard words.count == 2, words[0].lowercased() == "bearer" else { return "" }
        return String(words[1])
    }
}
