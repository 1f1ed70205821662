/// An interface as read back from the kernel.
public struct InstalledLink: Hashable, Sendable {
    public let index: UInt32
    public let name: String
    public let isUp: Bool
    /// Such as `veth`; nil for loopback and physical interfaces.
    public let kind: String?
    /// Of a veth, the other end: its index, and its namespace as numbered by this one (nil when it is this one).
    public let peer: UInt32?
    public let peerNamespace: Int32?
}

extension InstalledLink {
    init?(_ reply: NetlinkReply) {
        let attributes = reply.attributes(after: 16)
        guard let index = reply.payload.integer(at: 4, as: UInt32.self),
            let flags = reply.payload.integer(at: 8, as: UInt32.self), let name = attributes[3]
        else { return nil }
        // IFLA_LINKINFO { IFLA_INFO_KIND }.
        let information = attributes[18].flatMap {
            NetlinkReply(type: 0, sequence: 0, payload: $0).attributes(after: 0)
        }
        self.init(
            index: index, name: InstalledLink.text(name), isUp: flags & 1 != 0,
            kind: information?[1].map(InstalledLink.text), peer: attributes[5]?.integer(at: 0),
            peerNamespace: attributes[37]?.integer(at: 0))
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}

extension RouteSocket {
    public func links() throws(Errno) -> [InstalledLink] {
        try netlink.replies(to: RouteRequest.listLinks(), "list interfaces").compactMap(InstalledLink.init)
    }

    /// The number by which the calling thread's namespace knows another; nil when it has none for it.
    public func namespaceID(of namespace: NetworkNamespace) throws(Errno) -> Int32? {
        let replies = try netlink.replies(to: RouteRequest.namespaceID(of: namespace.descriptor), "number a namespace")
        let number: Int32? = replies.first?.attributes(after: 4)[1]?.integer(at: 0)
        return number.flatMap { $0 < 0 ? nil : $0 }
    }
}

extension RouteSocket {
    /// How many filters of the traffic control are on an interface, both directions.
    public func filterCount(link: UInt32) throws(Errno) -> Int {
        var count = 0
        // Ingress and egress of clsact.
        for parent in [0xffff_fff2, 0xffff_fff3] as [UInt32] {
            let replies = try netlink.replies(to: RouteRequest.listFilters(link, parent: parent), "list filters")
            // A priority without filters is listed too, with no handle.
            count += replies.count { $0.payload.integer(at: 8, as: UInt32.self) ?? 0 != 0 }
        }
        return count
    }
}
