import Glibc
public import LinuxNetworking

/// Everything of a network namespace that somebody could have left something in, as text: byte for byte the same if nobody has.
public enum NamespaceInventory {
    /// Rules, routes, addresses, links, netfilter, traffic control, sockets, and every readable setting below /proc/sys/net; without
    /// `isThorough`, which takes a tenth of a second, of the settings only those that a mesh has to do with.
    public static func text(of namespace: NetworkNamespace, isThorough: Bool = true) throws -> String {
        try namespace.run { TestNetwork.shell(commands) + "\n" + settings(isThorough) }
    }

    /// Connections that have ended, and only keep their addresses for a while, are nobody's.
    private static let commands = """
        # Namespaces of others that have just gone are none of ours, but `ip` complains of them.
        (for family in -4 -6; do ip -details $family rule; ip -details $family route show table all; done
        ip -details link; ip -details address) 2>/dev/null
        (for link in $(ip -o link 2>/dev/null | sed 's/^[0-9]*: //; s/[@:].*//'); do tc qdisc show dev $link; tc filter show dev $link ingress
        tc filter show dev $link egress; done
        nft list ruleset
        for save in iptables-save ip6tables-save; do command -v $save > /dev/null && $save | grep -v '^#'; done
        ss -Hnatu state connected state listening state unconnected exclude time-wait exclude fin-wait-2) 2>&1
        """

    /// Of the calling thread's namespace, in the order of their names.
    public static func settings(_ isThorough: Bool) -> String {
        let wanted = files(below: "/proc/sys/net").filter { path in
            isThorough ? !path.hasSuffix("/nf_conntrack_count") : path.contains("fwmark") || path.contains("timestamps")
        }
        return wanted.compactMap { path in contents(path).map { "\(path) = \($0)" } }.joined(separator: "\n")
    }

    private static func files(below path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var found: [(name: String, isDirectory: Bool)] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { found.append((path + "/" + name, entry.pointee.d_type == UInt8(DT_DIR))) }
        }
        return found.sorted { $0.name < $1.name }.flatMap { $0.isDirectory ? files(below: $0.name) : [$0.name] }
    }

    /// nil for what can only be written.
    private static func contents(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        return count >= 0 ? String(decoding: bytes[..<count].prefix { $0 != 10 }, as: UTF8.self) : nil
    }
}
