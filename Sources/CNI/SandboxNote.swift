import Glibc
public import IPAddressing

/// Where a pod's network namespace is: noted by the plugin for the agent, which finds it so before there is any process in it, and after
/// a restart of its own. Lines: the path, the container, the pod, its addresses.
public struct SandboxNote: Hashable, Sendable {
    public let netns: String
    public let container: String
    public let pod: CNIRequest.Pod
    public let addresses: [IPAddress]

    private static let bytesMax = 16 << 10

    public init(netns: String, container: String, pod: CNIRequest.Pod, addresses: [IPAddress]) {
        self.netns = netns
        self.container = container
        self.pod = pod
        self.addresses = addresses
    }

    var text: String {
        ([netns, container, "\(pod.namespace)/\(pod.name)"] + addresses.map(\.description))
            .map { $0 + "\n" }.joined()
    }

    /// nil for anything `text` does not produce. The file's name is the uid.
    init?(text: String, uid: String) {
        let lines = text.split(separator: "\n").map(String.init)
        guard lines.count >= 3 else { return nil }
        let names = lines[2].split(separator: "/").map(String.init)
        let addresses = lines.dropFirst(3).map(IPAddress.init)
        guard names.count == 2, lines[0].hasPrefix("/"), addresses.allSatisfy({ $0 != nil }) else { return nil }
        self.init(
            netns: lines[0], container: lines[1], pod: .init(namespace: names[0], name: names[1], uid: uid),
            addresses: addresses.compactMap(\.self))
    }

    public static func read(uid: String, in directory: String) -> SandboxNote? {
        guard PodUID.isUsable(uid), let bytes = try? SmallFile.read(directory + "/" + uid, bytesMax: bytesMax) else {
            return nil
        }
        return SandboxNote(text: String(decoding: bytes, as: UTF8.self), uid: uid)
    }

    /// Without a uid there is nothing to note it by. Throws where the agent has not made the directory.
    func write(in directory: String) throws(SmallFile.Problem) {
        guard let uid = pod.uid else { return }
        try SmallFile.write(Array(text.utf8), to: directory + "/" + uid, mode: 0o600)
    }

    /// Removes the notes of containers that `isGone`; never that of a container that the pod has by now.
    static func remove(in directory: String, uid: String? = nil, where isGone: (String) -> Bool) {
        for name in uid.map({ [$0] }) ?? SmallFile.names(directory) {
            guard let note = read(uid: name, in: directory), isGone(note.container) else { continue }
            unlink(directory + "/" + name)
        }
    }
}

/// Which namespaces are enrolled, as the agent knew last: by it the plugin decides while the agent is away.
public struct EnrolledNamespaces: Hashable, Sendable {
    private static let title = "culvert enrolled namespaces 1"
    private static let bytesMax = 4 << 20

    public let names: Set<String>

    public init(_ names: Set<String>) { self.names = names }

    var text: String { ([Self.title] + names.sorted() + ["end of namespaces"]).map { $0 + "\n" }.joined() }

    /// nil for what is not whole.
    init?(text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 3, lines[0] == Self.title[...], lines[lines.count - 2] == "end of namespaces",
            lines.last == ""
        else { return nil }
        names = Set(lines[1..<(lines.count - 2)].map(String.init))
    }

    /// nil when nobody knows.
    public static func read(_ path: String) -> EnrolledNamespaces? {
        guard let bytes = try? SmallFile.read(path, bytesMax: bytesMax) else { return nil }
        return EnrolledNamespaces(text: String(decoding: bytes, as: UTF8.self))
    }

    public func write(_ path: String) throws {
        try SmallFile.write(Array(text.utf8), to: path, mode: 0o600)
    }
}
