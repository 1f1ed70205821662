/// How often one request is made again before its caller hears of it.
struct Patience {
    static let overloadsMax = 4
    /// Longer than this, the caller can better decide what to do meanwhile.
    static let waitMax: Duration = .seconds(30)

    private var hasReadToken = false
    private var hasReconnected = false
    private var overloads = 0

    /// Waits as the server has asked for. False when the refusal is the answer.
    mutating func allowsRetry(
        after refusal: KubernetesError.Refusal, _ credentials: ClusterCredentials
    ) async throws -> Bool {
        if refusal.code == 401, !hasReadToken {
            hasReadToken = true
            return credentials.forgetToken()
        }
        guard let wait = wait(after: refusal) else { return false }
        try await Task.sleep(for: wait)
        return true
    }

    /// How long to wait before asking again; nil when the refusal is the answer.
    mutating func wait(after refusal: KubernetesError.Refusal) -> Duration? {
        guard refusal.code == 429 || (refusal.code == 503 && refusal.retryAfter != nil), overloads < Self.overloadsMax
        else { return nil }
        let wait = refusal.retryAfter ?? .seconds(1)
        guard wait <= Self.waitMax else { return nil }
        overloads += 1
        return wait
    }

    /// Once.
    mutating func reconnects() -> Bool {
        defer { hasReconnected = true }
        return !hasReconnected
    }
}
