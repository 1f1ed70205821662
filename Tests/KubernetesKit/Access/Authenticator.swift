internal import Synchronization

/// Says who sent a request: by client certificate, by a token of a service account, or by one of the tokens set up for the test.
final class Authenticator: Sendable {
    private let tokens: ServiceAccountTokens
    private let staticTokens = Mutex<[String: User]>([:])

    init(tokens: ServiceAccountTokens) { self.tokens = tokens }

    func add(token: String, for user: User) {
        staticTokens.withLock { $0[token] = user }
    }

    /// Throws 401 where credentials were sent that prove nothing; none at all is the anonymous user, as on kubeadm's clusters.
    func user(certificate: [UInt8]?, authorization: String?) throws -> User {
        if let certificate, let user = Credentials.user(ofCertificate: certificate) { return user }
        guard let authorization else { return .anonymous }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { throw Refusal.unauthorized }
        switch review(String(parts[1]), audiences: []) {
        case .known(let user, _): return user
        case .unknown: throw Refusal.unauthorized
        }
    }

    enum Verdict {
        case known(User, audiences: [String])
        case unknown(why: String)
    }

    /// - Parameter audiences: none means the API server itself.
    func review(_ token: String, audiences: [String]) -> Verdict {
        let audiences = audiences.isEmpty ? [ServiceAccountTokens.issuer] : audiences
        if let user = staticTokens.withLock({ $0[token] }) {
            return .known(user, audiences: audiences.filter { $0 == ServiceAccountTokens.issuer })
        }
        do {
            guard let found = try tokens.user(of: token, audiences: audiences) else {
                return .unknown(why: "invalid bearer token")
            }
            return .known(found.user, audiences: found.audiences)
        } catch {
            return .unknown(why: error.why)
        }
    }
}
