public import FoundationEssentials

/// What a proxy says of itself, for its agent to tell the cluster: left in the run directory, and written again every few seconds.
public struct ProxyReport: Codable, Hashable, Sendable {
    public var version: String
    /// Seconds since 1970.
    public var writtenAt: Int64
    /// How many pods' identities it holds a certificate of.
    public var identities: Int
    /// When the first of them ends, in seconds since 1970; nil for none.
    public var firstExpiry: Int64?
    /// What it waits for; nil when it is ready.
    public var notReadyBecause: String?

    /// In bytes; what is longer is cut.
    private static let reasonMax = 512
    public static let interval = Duration.seconds(5)
    /// One that was not written for so long is that of a proxy that is gone.
    static let validity: Int64 = 30

    public init(version: String, writtenAt: Date, identities: Int, firstExpiry: Date?, notReadyBecause: String?) {
        self.version = version
        self.writtenAt = Int64(writtenAt.timeIntervalSince1970)
        self.identities = identities
        self.firstExpiry = firstExpiry.map { Int64($0.timeIntervalSince1970) }
        self.notReadyBecause = notReadyBecause.map { String(decoding: $0.utf8.prefix(Self.reasonMax), as: UTF8.self) }
    }

    public static func file(in runDirectory: String) -> ReportFile<ProxyReport> {
        ReportFile(path: runDirectory + "/proxy.status")
    }

    public func isCurrent(at now: Date) -> Bool {
        abs(Int64(now.timeIntervalSince1970) - writtenAt) <= Self.validity
    }
}
