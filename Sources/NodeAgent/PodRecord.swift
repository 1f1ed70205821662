/// Where a pod's redirection was installed: enough for another agent to find it.
public struct PodRecord: Hashable, Sendable {
    public let uid: String
    /// The namespace's path when it was installed.
    public let netns: String
    public let namespace: NamespaceID
    /// False as long as connections may exist that were opened around the proxy.
    public var isConnectionsReset: Bool

    public init(uid: String, netns: String, namespace: NamespaceID, isConnectionsReset: Bool = false) {
        self.uid = uid
        self.netns = netns
        self.namespace = namespace
        self.isConnectionsReset = isConnectionsReset
    }
}

extension PodRecord {
    private static let title = "culvert pod 1"

    /// As lines, for the operator. `bootID` because namespaces are told apart by inode only within one boot.
    func text(bootID: String) -> String {
        """
        \(PodRecord.title)
        boot \(bootID)
        netns \(netns)
        namespace \(namespace.device) \(namespace.inode)
        connections \(isConnectionsReset ? "reset" : "pending")
        end

        """
    }

    /// nil for anything that `text(bootID:)` does not make.
    static func parse(_ text: String, uid: String) -> (record: PodRecord, bootID: String)? {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 7, lines[0] == title, lines[5] == "end", lines[6].isEmpty,
            let boot = field("boot", lines[1]), let netns = field("netns", lines[2]),
            let numbers = field("namespace", lines[3])?.split(separator: " ").map({ UInt64($0) }),
            numbers.count == 2, let device = numbers[0], let inode = numbers[1],
            let connections = field("connections", lines[4]), ["reset", "pending"].contains(connections)
        else { return nil }
        let record = PodRecord(
            uid: uid, netns: netns, namespace: NamespaceID(device: device, inode: inode),
            isConnectionsReset: connections == "reset")
        return (record, boot)
    }

    private static func field(_ name: String, _ line: Substring) -> String? {
        guard line.hasPrefix(name + " ") else { return nil }
        return String(line.dropFirst(name.count + 1))
    }
}
