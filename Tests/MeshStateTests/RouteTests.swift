import IPAddressing
import MeshState
import SPIFFE
import SeededRandom
import Testing

/// The destination decision: one case per row of the table that ztunnel follows, in its order.
@Suite("Routing")
struct RouteTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var workloads: [Workload] = []
        var services: [Service] = []
        let to: String
        let route: String

        var testDescription: String { name }
    }

    /// One line that says all of a route.
    static func shown(_ route: Route) -> String {
        switch route {
        case .tunnel(let tunnel):
            let expected = tunnel.expected.map(\.description).joined(separator: "+")
            let service = tunnel.service.map { " for \($0)" } ?? ""
            return
                "tunnel \(tunnel.endpoint) CONNECT \(tunnel.authority) \(tunnel.destination.uid) as \(expected)\(service)"
        case .plain(let to, let destination, let service):
            let workload = destination.map { " \($0.uid)" } ?? ""
            return "plain \(to)\(workload)" + (service.map { " for \($0)" } ?? "")
        case .refused(let refusal):
            return "refused: \(refusal)"
        case .unknown(let destination):
            return "unknown \(destination)"
        }
    }

    static func cases() throws -> [Case] {
        let webID = "spiffe://culvert.demo/ns/shop/sa/web"
        let web = try pod("web", serviceAccount: "web", "10.0.0.2", "fd00::2", services: [webName: [:]])
        let plainWeb = try pod("web", "10.0.0.2", tunnel: .none, services: [webName: [:]])
        let sick = try pod("web", "10.0.0.2", status: .unhealthy, services: [webName: [:]])
        let other = try SPIFFEID("spiffe://culvert.demo/ns/shop/sa/other")
        return [
            Case(name: "an address outside the mesh passes through", to: "192.0.2.1:443", route: "plain 192.0.2.1:443"),
            Case(
                name: "an enrolled pod by its own address", workloads: [web], to: "10.0.0.2:5432",
                route: "tunnel 10.0.0.2:15008 CONNECT 10.0.0.2:5432 web as \(webID)"),
            Case(
                name: "an enrolled pod by its IPv6 address", workloads: [web], to: "[fd00::2]:5432",
                route: "tunnel [fd00::2]:15008 CONNECT [fd00::2]:5432 web as \(webID)"),
            Case(
                name: "an un-enrolled pod", workloads: [plainWeb], to: "10.0.0.2:5432", route: "plain 10.0.0.2:5432 web"
            ),
            Case(
                name: "a service with an enrolled endpoint", workloads: [web],
                services: [service(webName, "10.96.0.1")],
                to: "10.96.0.1:80",
                route: "tunnel 10.0.0.2:15008 CONNECT 10.0.0.2:8080 web as \(webID) for \(webName)"),
            Case(
                name: "a service by IPv6: the endpoint's address of that family", workloads: [web],
                services: [service(webName, "fd00:96::1")], to: "[fd00:96::1]:80",
                route: "tunnel [fd00::2]:15008 CONNECT [fd00::2]:8080 web as \(webID) for \(webName)"),
            Case(
                name: "a service by IPv6 whose endpoint has IPv4 only", workloads: [plainWeb],
                services: [service(webName, "fd00:96::1")], to: "[fd00:96::1]:80",
                route: "plain 10.0.0.2:8080 web for \(webName)"),
            Case(
                name: "a service with an un-enrolled endpoint", workloads: [plainWeb],
                services: [service(webName, "10.96.0.1")], to: "10.96.0.1:80",
                route: "plain 10.0.0.2:8080 web for \(webName)"),
            Case(
                name: "a service names further identities", workloads: [web],
                services: [service(webName, "10.96.0.1", subjectAltNames: [other])], to: "10.96.0.1:80",
                route: "tunnel 10.0.0.2:15008 CONNECT 10.0.0.2:8080 web as \(webID)+\(other) for \(webName)"),
            Case(
                name: "a service without endpoints", services: [service(webName, "10.96.0.1")], to: "10.96.0.1:80",
                route: "refused: no healthy upstream: 10.96.0.1:80"),
            Case(
                name: "a service whose endpoint is unhealthy", workloads: [sick],
                services: [service(webName, "10.96.0.1")], to: "10.96.0.1:80",
                route: "refused: no healthy upstream: 10.96.0.1:80"),
            Case(
                name: "a service whose endpoint has no address",
                workloads: [try pod("web", services: [webName: [:]])], services: [service(webName, "10.96.0.1")],
                to: "10.96.0.1:80", route: "refused: no healthy upstream: 10.96.0.1:80"),
            Case(
                name: "a service whose endpoint has no weight",
                workloads: [try pod("web", "10.0.0.2", capacity: 0, services: [webName: [:]])],
                services: [service(webName, "10.96.0.1")], to: "10.96.0.1:80",
                route: "refused: no healthy upstream: 10.96.0.1:80"),
            Case(
                name: "a port that the service does not have", workloads: [web],
                services: [service(webName, "10.96.0.1")], to: "10.96.0.1:81",
                route: "refused: no healthy upstream: 10.96.0.1:81"),
            Case(
                name: "the endpoint's own port counts before the service's",
                workloads: [try pod("web", "10.0.0.2", tunnel: .none, services: [webName: [80: 9090]])],
                services: [service(webName, "10.96.0.1")], to: "10.96.0.1:80",
                route: "plain 10.0.0.2:9090 web for \(webName)"),
            Case(
                name: "a port that only the endpoint maps",
                workloads: [try pod("web", "10.0.0.2", tunnel: .none, services: [webName: [80: 9090]])],
                services: [service(webName, "10.96.0.1", ports: [80: 0])], to: "10.96.0.1:80",
                route: "plain 10.0.0.2:9090 web for \(webName)"),
            Case(
                name: "a port that nobody maps", workloads: [web],
                services: [service(webName, "10.96.0.1", ports: [80: 0])], to: "10.96.0.1:80",
                route: "refused: no healthy upstream: 10.96.0.1:80"),
            Case(
                name: "a service that passes through", workloads: [web],
                services: [service(webName, "10.96.0.1", loadBalancing: .passthrough)], to: "10.96.0.1:81",
                route: "plain 10.96.0.1:81 for \(webName)"),
            Case(
                name: "an address that is both virtual and a pod's: the service",
                workloads: [plainWeb, try pod("taker", "10.96.0.1")], services: [service(webName, "10.96.0.1")],
                to: "10.96.0.1:80", route: "plain 10.0.0.2:8080 web for \(webName)"),
            Case(
                name: "an unhealthy pod by its own address", workloads: [sick], to: "10.0.0.2:1",
                route: "tunnel 10.0.0.2:15008 CONNECT 10.0.0.2:1 web as spiffe://culvert.demo/ns/shop/sa/default"),
            Case(
                name: "a host-network pod's address is its node's",
                workloads: [try pod("agent", "10.0.0.9", hostNetwork: true)], to: "10.0.0.9:80",
                route: "plain 10.0.0.9:80"),
            Case(
                name: "one virtual address in two namespaces: the asking pod's own", workloads: [plainWeb],
                services: [
                    service(ServiceName(namespace: "bank", hostname: "web"), "10.96.0.1"),
                    service(webName, "10.96.0.1"),
                ], to: "10.96.0.1:80", route: "plain 10.0.0.2:8080 web for \(webName)"),
        ]
    }

    @Test("follows the table", arguments: try cases())
    func table(_ row: Case) throws {
        let mesh = MeshSnapshot(row.workloads, row.services)
        let route = mesh.route(from: try pod("client", "10.0.0.1"), to: at(row.to), random: 0)
        #expect(Self.shown(route) == row.route)
    }

    @Test("chooses endpoints in proportion to their capacity")
    func weights() throws {
        let light = try pod("light", "10.0.0.2", capacity: 1, services: [webName: [:]])
        let heavy = try pod("heavy", "10.0.0.3", capacity: 3, services: [webName: [:]])
        let never = try pod("never", "10.0.0.4", capacity: 0, services: [webName: [:]])
        let mesh = MeshSnapshot([light, heavy, never], [service(webName, "10.96.0.1")])
        var random = SeededGenerator(seed: 1)
        var chosen: [IPAddress: Int] = [:]
        for _ in 0..<4000 {
            let route = mesh.route(from: light, to: at("10.96.0.1:80"), random: random.next())
            guard case .tunnel(let tunnel) = route else { continue }
            chosen[tunnel.endpoint.ip, default: 0] += 1
        }
        #expect(chosen[ip("10.0.0.4")] == nil)
        #expect(chosen.values.reduce(0, +) == 4000)
        #expect((850...1150).contains(chosen[ip("10.0.0.2")] ?? 0))
        // The two ends of the range belong to the two ends of the list.
        let (low, high) = (UInt64.min, UInt64.max)
        #expect(
            mesh.route(from: light, to: at("10.96.0.1:80"), random: low)
                != mesh.route(from: light, to: at("10.96.0.1:80"), random: high))
    }

    @Test("an address of the mesh's ranges that the mesh does not know is to be asked for; one that it knows is not")
    func ranges() throws {
        let ranges = Set(["10.0.0.0/24", "10.0.1.0/24", "10.96.0.0/12", "fd00::/64"].compactMap { IPPrefix($0) })
        let web = try pod("web", "10.0.0.2")
        let mesh = MeshSnapshot([web], [service(webName, "10.96.0.1")])
            .applying(MeshUpdate(ranges: ranges)).applying(MeshUpdate(removed: ["other"]))
        func route(_ to: String) throws -> String {
            Self.shown(mesh.route(from: web, to: at(to), random: 0))
        }
        for destination in ["10.0.0.3:80", "10.0.1.255:80", "10.111.1.1:443", "[fd00::9]:80"] {
            #expect(try route(destination) == "unknown \(destination)")
        }
        for destination in ["10.0.2.1:80", "192.0.2.1:443", "[fd00:0:0:1::1]:80"] {
            #expect(try route(destination) == "plain \(destination)")
        }
        #expect(try route("10.0.0.2:80").hasPrefix("tunnel"))
        #expect(try route("10.96.0.1:80").hasPrefix("refused"))
        #expect(mesh.applying(MeshUpdate(ranges: [])).ranges == AddressRanges())
    }
}
