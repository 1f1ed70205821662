/// What a pod's namespace was like before the redirection changed it: written before the first change, read to undo it.
///
/// A text of lines, so that an operator can undo by hand what a lost program cannot.
struct RedirectionRecord: Equatable {
    struct Setting: Equatable {
        /// As for `Sysctl`.
        let name: String
        let value: String
    }

    private static let title = "culvert redirection 1"

    /// Namespaces are told apart by inode only within one boot.
    let bootID: String
    let namespace: String
    let settings: [Setting]
    /// Which connections may go around the proxy, now or until those of an earlier plan are ended.
    var exclusions = PodExclusions()
    /// The kubelet's connections reach the application.
    var isProbed = false
    /// They are marked where they enter the pod.
    var isMarked = false
    /// They are known by it.
    var probeSource: ProbeSource?
    /// Of the ruleset as nft lists it after installation; `nil` until then.
    var rulesetDigest: String?

    var text: String {
        var lines = [RedirectionRecord.title, "boot \(bootID)", "namespace \(namespace)"]
        lines += settings.map { "sysctl \($0.name) \($0.value)" }
        lines += exclusions.words.map { "excluded \($0)" }
        if isProbed { lines.append("probed") }
        if isMarked { lines.append("probes marked") }
        if let probeSource { lines.append("probes from \(probeSource)") }
        if let rulesetDigest { lines.append("ruleset \(rulesetDigest)") }
        return lines.joined(separator: "\n") + "\nend\n"
    }

    init(
        bootID: String, namespace: String, settings: [Setting], exclusions: PodExclusions = PodExclusions(),
        isProbed: Bool = false, isMarked: Bool = false, probeSource: ProbeSource? = nil,
        rulesetDigest: String? = nil
    ) {
        self.bootID = bootID
        self.namespace = namespace
        self.settings = settings
        self.exclusions = exclusions
        self.isProbed = isProbed
        self.isMarked = isMarked
        self.probeSource = probeSource
        self.rulesetDigest = rulesetDigest
    }

    /// `nil` for anything `text` does not produce.
    init?(text: String) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        guard lines.popFirst() == RedirectionRecord.title[...], lines.popLast() == "", lines.popLast() == "end",
            let boot = RedirectionRecord.field("boot", lines.popFirst()),
            let namespace = RedirectionRecord.field("namespace", lines.popFirst())
        else { return nil }
        var settings: [Setting] = []
        while let line = lines.first, let setting = RedirectionRecord.field("sysctl", line) {
            guard let space = setting.firstIndex(of: " ") else { return nil }
            let value = setting[setting.index(after: space)...]
            settings.append(Setting(name: String(setting[..<space]), value: String(value)))
            lines.removeFirst()
        }
        while let line = lines.first, let word = RedirectionRecord.field("excluded", line) {
            guard exclusions.insert(word: word[...]) else { return nil }
            lines.removeFirst()
        }
        if lines.first == "probed" {
            isProbed = true
            lines.removeFirst()
        }
        if lines.first == "probes marked" {
            isMarked = true
            lines.removeFirst()
        }
        if let text = RedirectionRecord.field("probes from", lines.first) {
            guard let source = ProbeSource(text) else { return nil }
            probeSource = source
            lines.removeFirst()
        }
        if let line = lines.popFirst() {
            guard let digest = RedirectionRecord.field("ruleset", line), lines.isEmpty else { return nil }
            rulesetDigest = digest
        }
        bootID = boot
        self.namespace = namespace
        self.settings = settings
    }

    /// The plan, as far as it decides what is left alone.
    var plan: RedirectionPlan {
        var plan = RedirectionPlan()
        plan.exclusions = exclusions
        plan.isProbed = isProbed
        plan.probeSource = probeSource
        return plan
    }

    private static func field(_ name: String, _ line: Substring?) -> String? {
        guard let line, line.hasPrefix(name + " ") else { return nil }
        return String(line.dropFirst(name.count + 1))
    }

    /// FNV-1a, 64 bits: against accidents, not adversaries.
    static func digest(_ listing: String) -> String {
        let hash = listing.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
        return String(hash, radix: 16)
    }
}
