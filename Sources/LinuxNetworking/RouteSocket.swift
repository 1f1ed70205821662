import CLinux
import Glibc
public import IPAddressing

/// `fwmark <mark> lookup <table> pref <priority>`: packets with exactly this mark are routed by this table.
public struct RoutingRule: Hashable, Sendable {
    public let family: IPAddress.Family
    public let mark: UInt32
    public let table: UInt32
    public let priority: UInt32

    public init(family: IPAddress.Family, mark: UInt32, table: UInt32, priority: UInt32) {
        self.family = family
        self.mark = mark
        self.table = table
        self.priority = priority
    }
}

/// A route as read back from the kernel.
public struct InstalledRoute: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case unicast
        /// To the host itself.
        case local
        /// RTN_*.
        case other(UInt8)
    }

    public let kind: Kind
    public let destination: IPPrefix
    public let table: UInt32
    public let gateway: IPAddress?
    /// The interface's index.
    public let link: UInt32?
    public let preferredSource: IPAddress?
}

/// An address of an interface as read back from the kernel.
public struct InterfaceAddress: Hashable, Sendable {
    public let address: IPAddress
    public let prefixLength: Int
    /// The interface's index.
    public let link: UInt32
}

/// Interfaces, addresses, routes and rules (rtnetlink(7)) of the network namespace that the calling thread is in when this is
/// made. For one thread at a time. Interfaces are named; ENODEV for a name that does not exist.
public final class RouteSocket {
    /// Where routes are without a table of their own.
    public static let mainTable: UInt32 = 254

    let netlink: NetlinkSocket

    public init() throws(Errno) { netlink = try NetlinkSocket(.route) }

    // MARK: - Links

    /// Two joined interfaces, both down; the peer is made in `peerNamespace`, or here without one.
    public func createVeth(
        _ name: String, peerName: String, peerNamespace: NetworkNamespace? = nil
    ) throws(Errno) {
        let message = RouteRequest.createVeth(name, peer: peerName, peerNamespace: peerNamespace?.descriptor)
        try netlink.perform(message, "create veth \(name)")
    }

    public func createBridge(_ name: String) throws(Errno) {
        try netlink.perform(RouteRequest.createBridge(name), "create bridge \(name)")
    }

    /// Makes `name` a port of the bridge.
    public func setMaster(_ name: String, bridge: String) throws(Errno) {
        let (link, master) = (try linkIndex(name), try linkIndex(bridge))
        try netlink.perform(RouteRequest.setMaster(link, master), "add \(name) to \(bridge)")
    }

    public func setUp(_ name: String) throws(Errno) {
        try netlink.perform(RouteRequest.setUp(try linkIndex(name)), "set \(name) up")
    }

    /// False when there was none. The other end of a veth goes with it.
    @discardableResult
    public func deleteLink(_ name: String) throws(Errno) -> Bool {
        let index = clinux_interface_index(name)
        guard index > 0 else { return false }
        return try unless(ENODEV) { () throws(Errno) in
            try netlink.perform(RouteRequest.deleteLink(index), "delete \(name)")
        }
    }

    /// In the calling thread's namespace.
    public func linkIndex(_ name: String) throws(Errno) -> UInt32 {
        let index = clinux_interface_index(name)
        guard index > 0 else { throw Errno(code: ENODEV, call: "find interface \(name)") }
        return index
    }

    // MARK: - Addresses

    /// An IPv6 address is usable at once, without duplicate address detection.
    public func addAddress(_ address: IPAddress, prefixLength: Int, to name: String) throws(Errno) {
        let message = RouteRequest.addAddress(address, length: prefixLength, link: try linkIndex(name))
        try netlink.perform(message, "add address \(address)/\(prefixLength) to \(name)")
    }

    /// Of all interfaces, both families.
    public func addresses() throws(Errno) -> [InterfaceAddress] {
        var found: [InterfaceAddress] = []
        for family in [IPAddress.Family.v4, .v6] {
            for reply in try netlink.replies(to: RouteRequest.listAddresses(family), "list addresses") {
                if let address = InterfaceAddress(reply), address.address.family == family { found.append(address) }
            }
        }
        return found
    }

    // MARK: - Routes

    /// Replaces a route to the same prefix. The gateway or the interface, or both, say where to.
    public func addRoute(
        to prefix: IPPrefix, via gateway: IPAddress? = nil, link name: String? = nil, table: UInt32 = mainTable
    ) throws(Errno) {
        let link: UInt32? = if let name { try linkIndex(name) } else { nil }
        let message = RouteRequest.addRoute(to: prefix, via: gateway, link: link, table: table)
        try netlink.perform(message, "add route to \(prefix)")
    }

    /// Makes every address of the family the host's own for what is routed by this table: `local default dev lo`.
    public func addLocalRoute(
        _ family: IPAddress.Family, table: UInt32, preferredSource: IPAddress? = nil
    ) throws(Errno) {
        let message = RouteRequest.addLocalRoute(
            family, table: table, link: try linkIndex("lo"), preferredSource: preferredSource)
        try netlink.perform(message, "add local route to table \(table)")
    }

    /// False when there was none.
    @discardableResult
    public func deleteLocalRoute(_ family: IPAddress.Family, table: UInt32) throws(Errno) -> Bool {
        let message = RouteRequest.deleteLocalRoute(family, table: table, link: try linkIndex("lo"))
        return try unless(ESRCH, ENOENT) { () throws(Errno) in
            try netlink.perform(message, "delete local route of table \(table)")
        }
    }

    public func routes(_ family: IPAddress.Family, table: UInt32) throws(Errno) -> [InstalledRoute] {
        try netlink.replies(to: RouteRequest.listRoutes(family), "list routes")
            .compactMap { InstalledRoute($0, family) }
            .filter { $0.table == table }
    }

    // MARK: - Rules

    /// False when it was there already.
    @discardableResult
    public func addRule(_ rule: RoutingRule) throws(Errno) -> Bool {
        try unless(EEXIST) { () throws(Errno) in
            try netlink.perform(RouteRequest.addRule(rule), "add rule for mark \(rule.mark)")
        }
    }

    /// False when there was none.
    @discardableResult
    public func deleteRule(_ rule: RoutingRule) throws(Errno) -> Bool {
        try unless(ENOENT) { () throws(Errno) in
            try netlink.perform(RouteRequest.deleteRule(rule), "delete rule for mark \(rule.mark)")
        }
    }

    /// Those that match by a whole mark; others are not ours to understand.
    public func rules(_ family: IPAddress.Family) throws(Errno) -> [RoutingRule] {
        try netlink.replies(to: RouteRequest.listRules(family), "list rules").compactMap { RoutingRule($0, family) }
    }

    private func unless(_ codes: Int32..., body: () throws(Errno) -> Void) throws(Errno) -> Bool {
        do throws(Errno) {
            try body()
            return true
        } catch  where codes.contains(error.code) {
            return false
        }
    }
}

extension InterfaceAddress {
    init?(_ reply: NetlinkReply) {
        let attributes = reply.attributes(after: 8)
        // IFA_LOCAL is this end where the interface is a point-to-point one.
        guard let length = reply.payload.integer(at: 1, as: UInt8.self),
            let link = reply.payload.integer(at: 4, as: UInt32.self),
            let bytes = attributes[2] ?? attributes[1], let address = IPAddress(bytes: bytes)
        else { return nil }
        self.init(address: address, prefixLength: Int(length), link: link)
    }
}

extension InstalledRoute {
    init?(_ reply: NetlinkReply, _ family: IPAddress.Family) {
        let payload = reply.payload
        guard payload.count >= 12, payload.integer(at: 0, as: UInt8.self) == family.number,
            let length = payload.integer(at: 1, as: UInt8.self), let oldTable = payload.integer(at: 4, as: UInt8.self),
            let type = payload.integer(at: 7, as: UInt8.self)
        else { return nil }
        let attributes = reply.attributes(after: 12)
        let address = attributes[1].flatMap { IPAddress(bytes: $0) } ?? .unspecified(family)
        guard let destination = IPPrefix(address, length: Int(length)) else { return nil }
        self.init(
            kind: type == 1 ? .unicast : type == 2 ? .local : .other(type), destination: destination,
            table: attributes[15]?.integer(at: 0) ?? UInt32(oldTable),
            gateway: attributes[5].flatMap { IPAddress(bytes: $0) }, link: attributes[4]?.integer(at: 0),
            preferredSource: attributes[7].flatMap { IPAddress(bytes: $0) })
    }
}

extension RoutingRule {
    init?(_ reply: NetlinkReply, _ family: IPAddress.Family) {
        guard reply.payload.integer(at: 0, as: UInt8.self) == family.number else { return nil }
        let attributes = reply.attributes(after: 12)
        guard let mark: UInt32 = attributes[10]?.integer(at: 0), attributes[16]?.integer(at: 0) == UInt32.max,
            let table: UInt32 = attributes[15]?.integer(at: 0), let priority: UInt32 = attributes[6]?.integer(at: 0)
        else { return nil }
        self.init(family: family, mark: mark, table: table, priority: priority)
    }
}
