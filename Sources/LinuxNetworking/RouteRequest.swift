import Glibc
import IPAddressing

/// The rtnetlink requests (rtnetlink(7)) that Culvert makes, as bytes; layouts and numbers are kernel ABI.
enum RouteRequest {
    private enum Kind {
        static let newLink: UInt16 = 16
        static let deleteLink: UInt16 = 17
        static let getLink: UInt16 = 18
        static let newAddress: UInt16 = 20
        static let getAddress: UInt16 = 22
        static let newRoute: UInt16 = 24
        static let deleteRoute: UInt16 = 25
        static let getRoute: UInt16 = 26
        static let newRule: UInt16 = 32
        static let deleteRule: UInt16 = 33
        static let getRule: UInt16 = 34
        static let getFilter: UInt16 = 46
        static let getNamespaceID: UInt16 = 90
    }

    // MARK: - Links

    /// struct ifinfomsg; up is IFF_UP in flags and change mask.
    private static func link(index: UInt32, up: Bool) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.newLink, flags: .acknowledge)
        appendLink(&message, index: index, up: up)
        return message
    }

    private static func appendLink(_ message: inout NetlinkMessage, index: UInt32 = 0, up: Bool = false) {
        message.append(UInt32(AF_UNSPEC))
        message.append(index)
        message.append(UInt32(up ? 1 : 0))
        message.append(UInt32(up ? 1 : 0))
    }

    /// IFLA_IFNAME, IFLA_LINKINFO { kind "veth", data { VETH_INFO_PEER { ifinfomsg, name, namespace } } }.
    static func createVeth(_ name: String, peer: String, peerNamespace: Int32?) -> NetlinkMessage {
        create(name, kind: "veth") { info in
            info.attribute(2) { data in
                data.attribute(1) { end in
                    appendLink(&end)
                    end.attribute(3, peer)
                    if let peerNamespace { end.attribute(28, peerNamespace) }
                }
            }
        }
    }

    static func createBridge(_ name: String) -> NetlinkMessage { create(name, kind: "bridge") { _ in } }

    private static func create(
        _ name: String, kind: String, _ data: (inout NetlinkMessage) -> Void
    ) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.newLink, flags: [.acknowledge, .create, .exclusive])
        appendLink(&message)
        message.attribute(3, name)
        message.attribute(18) { info in
            info.attribute(1, Array(kind.utf8))
            data(&info)
        }
        return message
    }

    static func setMaster(_ link: UInt32, _ master: UInt32) -> NetlinkMessage {
        var message = self.link(index: link, up: false)
        message.attribute(10, master)
        return message
    }

    static func setUp(_ link: UInt32) -> NetlinkMessage { self.link(index: link, up: true) }

    static func deleteLink(_ link: UInt32) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.deleteLink, flags: .acknowledge)
        appendLink(&message, index: link)
        return message
    }

    static func listLinks() -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getLink, flags: .dump)
        appendLink(&message)
        return message
    }

    /// struct tcmsg.
    static func listFilters(_ link: UInt32, parent: UInt32) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getFilter, flags: .dump)
        message.append([UInt8(AF_UNSPEC), 0, 0, 0])
        message.append(link)
        message.append(UInt32(0))
        message.append(parent)
        message.append(UInt32(0))
        return message
    }

    /// struct rtgenmsg, padded; NETNSA_FD.
    static func namespaceID(of namespace: Int32) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getNamespaceID, flags: .acknowledge)
        message.append([UInt8(AF_UNSPEC), 0, 0, 0])
        message.attribute(3, namespace)
        return message
    }

    // MARK: - Addresses

    /// struct ifaddrmsg, IFA_ADDRESS and IFA_LOCAL; an IPv6 address is usable at once (IFA_F_NODAD).
    static func addAddress(_ address: IPAddress, length: Int, link: UInt32) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.newAddress, flags: [.acknowledge, .create, .replace])
        message.append(address.family.number)
        message.append(UInt8(length))
        message.append(UInt8(address.family == .v6 ? 0x02 : 0))
        message.append(UInt8(0))
        message.append(link)
        message.attribute(2, address.bytes)
        message.attribute(1, address.bytes)
        return message
    }

    static func listAddresses(_ family: IPAddress.Family) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getAddress, flags: .dump)
        message.append([family.number, 0, 0, 0])
        message.append(UInt32(0))
        return message
    }

    // MARK: - Routes

    /// struct rtmsg. The table is given in full as an attribute; the old field holds what fits.
    private static func route(
        _ kind: UInt16, _ flags: NetlinkMessage.Flags, _ family: IPAddress.Family, length: Int, table: UInt32,
        scope: UInt8, type: UInt8
    ) -> NetlinkMessage {
        let boot: UInt8 = 3
        var message = NetlinkMessage(type: kind, flags: flags)
        message.append([family.number, UInt8(length), 0, 0, UInt8(min(table, 252)), boot, scope, type])
        message.append(UInt32(0))
        message.attribute(15, table)
        return message
    }

    static func addRoute(
        to prefix: IPPrefix, via gateway: IPAddress?, link: UInt32?, table: UInt32
    ) -> NetlinkMessage {
        // A route without a gateway reaches neighbours only: RT_SCOPE_LINK.
        let scope: UInt8 = gateway == nil && prefix.address.family == .v4 ? 253 : 0
        var message = route(
            Kind.newRoute, [.acknowledge, .create, .replace], prefix.address.family, length: prefix.length,
            table: table, scope: scope, type: 1)
        if prefix.length > 0 { message.attribute(1, prefix.address.bytes) }
        if let gateway { message.attribute(5, gateway.bytes) }
        if let link { message.attribute(4, link) }
        return message
    }

    /// `local default dev <link> table <table>`: every address is the host's own.
    static func addLocalRoute(
        _ family: IPAddress.Family, table: UInt32, link: UInt32, preferredSource: IPAddress?
    ) -> NetlinkMessage {
        var message = route(
            Kind.newRoute, [.acknowledge, .create, .replace], family, length: 0, table: table,
            scope: hostScope(family), type: 2)
        message.attribute(4, link)
        if let preferredSource { message.attribute(7, preferredSource.bytes) }
        return message
    }

    static func deleteLocalRoute(_ family: IPAddress.Family, table: UInt32, link: UInt32) -> NetlinkMessage {
        var message = route(
            Kind.deleteRoute, .acknowledge, family, length: 0, table: table, scope: hostScope(family), type: 2)
        message.attribute(4, link)
        return message
    }

    /// RT_SCOPE_HOST; IPv6 routes have no scope.
    private static func hostScope(_ family: IPAddress.Family) -> UInt8 { family == .v4 ? 254 : 0 }

    static func listRoutes(_ family: IPAddress.Family) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getRoute, flags: .dump)
        message.append([family.number, 0, 0, 0, 0, 0, 0, 0])
        message.append(UInt32(0))
        return message
    }

    // MARK: - Rules

    static func addRule(_ rule: RoutingRule) -> NetlinkMessage {
        self.rule(Kind.newRule, [.acknowledge, .create, .exclusive], rule)
    }

    static func deleteRule(_ rule: RoutingRule) -> NetlinkMessage { self.rule(Kind.deleteRule, .acknowledge, rule) }

    /// struct fib_rule_hdr with action FR_ACT_TO_TBL; FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK, FRA_TABLE.
    private static func rule(_ kind: UInt16, _ flags: NetlinkMessage.Flags, _ rule: RoutingRule) -> NetlinkMessage {
        var message = NetlinkMessage(type: kind, flags: flags)
        message.append([rule.family.number, 0, 0, 0, UInt8(min(rule.table, 252)), 0, 0, 1])
        message.append(UInt32(0))
        message.attribute(6, rule.priority)
        message.attribute(10, rule.mark)
        message.attribute(16, UInt32.max)
        message.attribute(15, rule.table)
        return message
    }

    static func listRules(_ family: IPAddress.Family) -> NetlinkMessage {
        var message = NetlinkMessage(type: Kind.getRule, flags: .dump)
        message.append([family.number, 0, 0, 0, 0, 0, 0, 0])
        message.append(UInt32(0))
        return message
    }
}

extension IPAddress.Family {
    /// AF_INET or AF_INET6.
    var number: UInt8 { UInt8(self == .v4 ? AF_INET : AF_INET6) }
}
