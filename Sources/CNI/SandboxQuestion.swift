/// What the plugin asks the agent, one packet; lines of text.
public struct SandboxQuestion: Hashable, Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// Enrol the pod now, if it is to be; answered when that is done.
        case add
        /// Is everything of it in place?
        case check
        /// Are you ready to be asked?
        case status
    }

    public static let bytesMax = 16 << 10
    private static let title = "culvert cni 1"

    public let kind: Kind
    /// nil for `status`.
    public let sandbox: SandboxNote?

    public init(_ kind: Kind, _ sandbox: SandboxNote? = nil) {
        self.kind = kind
        self.sandbox = sandbox
    }

    public var bytes: [UInt8] {
        let body = sandbox.map { "uid \($0.pod.uid ?? "")\n\($0.text)" } ?? ""
        return Array("\(Self.title)\n\(kind.rawValue)\n\(body)".utf8)
    }

    /// nil for anything `bytes` does not produce.
    public init?(bytes: [UInt8]) {
        guard bytes.count <= Self.bytesMax, let text = String(validating: bytes, as: UTF8.self) else { return nil }
        let parts = text.split(separator: "\n", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[0] == Self.title[...], let kind = Kind(rawValue: String(parts[1])) else {
            return nil
        }
        self.kind = kind
        if kind == .status {
            sandbox = nil
            return
        }
        guard parts.count == 4, parts[2].hasPrefix("uid ") else { return nil }
        let uid = String(parts[2].dropFirst(4))
        guard let note = SandboxNote(text: String(parts[3]), uid: uid), uid.isEmpty || PodUID.isUsable(uid) else {
            return nil
        }
        sandbox = SandboxNote(
            netns: note.netns, container: note.container,
            pod: .init(namespace: note.pod.namespace, name: note.pod.name, uid: uid.isEmpty ? nil : uid),
            addresses: note.addresses)
    }
}

/// What the agent answers, one packet.
public enum SandboxAnswer: Hashable, Sendable {
    /// Capture and guard are in place; or, to `status`, the agent is ready.
    case ready
    /// It is none of the mesh's: as if there were no plugin.
    case notEnrolled
    /// It is, and cannot be enrolled now.
    case refused(String)

    public static let bytesMax = 16 << 10

    public var bytes: [UInt8] {
        switch self {
        case .ready: Array("ready".utf8)
        case .notEnrolled: Array("not enrolled".utf8)
        case .refused(let reason): Array("refused \(reason)".utf8.prefix(Self.bytesMax))
        }
    }

    /// nil for anything `bytes` does not produce.
    public init?(bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        switch text {
        case "ready": self = .ready
        case "not enrolled": self = .notEnrolled
        case _ where text.hasPrefix("refused "): self = .refused(String(text.dropFirst("refused ".count)))
        default: return nil
        }
    }
}
