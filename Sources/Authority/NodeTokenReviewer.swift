/// Knows nodes by the tokens of the platform that runs them: Kubernetes' own, for one. What is no join token is shown to it.
///
/// Such a token is no secret of ours and can be used again while it lives: a node attests with it as often as it has to.
public protocol NodeTokenReviewer: Sendable {
    /// The node that the token's bearer runs on. Throws `tokenRefused` where the platform does not vouch for it, `notReady` where it
    /// cannot be asked.
    func node(bearing token: String) async throws(Denial) -> NodeName
}
