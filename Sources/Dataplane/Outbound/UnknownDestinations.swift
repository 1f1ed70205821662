import IPAddressing

/// Addresses of the mesh's ranges that the mesh did not know, and what was said of them. A value without I/O.
///
/// Whether one is in the mesh by now is always asked of the mesh first: what is remembered here is only that it was not, a moment ago.
struct UnknownDestinations {
    enum Verdict: Hashable {
        /// Nobody of the mesh has it: pods that are not enrolled, and services of such.
        case outside
        /// To be asked for. `answered` is to be called with what comes of it.
        case ask
        /// Somebody has asked.
        case wait
        case unavailable(String)
    }

    /// As long as this, new connections are not asked for again.
    static let freshness = Duration.seconds(10)
    /// And as long as this while nobody can be asked: what was plaintext before stays so while an agent is replaced.
    static let staleness = Duration.seconds(600)
    /// A destination that cannot be asked for is not asked for at every attempt of somebody who tries on.
    static let patience = Duration.milliseconds(500)
    /// Questions at one time.
    static let questionsMax = 256
    /// Remembered addresses.
    static let rememberedMax = 4096

    private struct Finding {
        var outsideAt: ContinuousClock.Instant?
        var obstacle: (text: String, at: ContinuousClock.Instant)?
    }

    private var findings: [IPAddress: Finding] = [:]
    private var questions: Set<IPAddress> = []

    mutating func look(at address: IPAddress, now: ContinuousClock.Instant) -> Verdict {
        let finding = findings[address]
        if let at = finding?.outsideAt, now - at < Self.freshness { return .outside }
        if let (text, at) = finding?.obstacle, now - at < Self.patience {
            return finding.map { isStillOutside($0, now) } ?? false ? .outside : .unavailable(text)
        }
        if questions.contains(address) { return .wait }
        guard questions.count < Self.questionsMax else { return .unavailable("too many destinations are asked for") }
        questions.insert(address)
        return .ask
    }

    private func isStillOutside(_ finding: Finding, _ now: ContinuousClock.Instant) -> Bool {
        finding.outsideAt.map { now - $0 < Self.staleness } ?? false
    }

    /// `obstacle` is why nothing is known of it; nil when all that is known of it is in the mesh.
    mutating func answered(_ address: IPAddress, obstacle: String?, now: ContinuousClock.Instant) {
        questions.remove(address)
        if findings[address] == nil, findings.count >= Self.rememberedMax { forget(now) }
        if let obstacle {
            findings[address, default: Finding()].obstacle = (obstacle, now)
        } else {
            findings[address] = Finding(outsideAt: now)
        }
    }

    /// The oldest half, so that this is seldom done.
    private mutating func forget(_ now: ContinuousClock.Instant) {
        func age(_ finding: Finding) -> Duration { now - (finding.outsideAt ?? finding.obstacle?.at ?? now) }
        let ages = findings.values.map(age).sorted()
        let median = ages[ages.count / 2]
        var left = findings.filter { age($0.value) < median }
        if left.count > Self.rememberedMax / 2 { left = [:] }
        findings = left
    }

    var rememberedCount: Int { findings.count }
}
