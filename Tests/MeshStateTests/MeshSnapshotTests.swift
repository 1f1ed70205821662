import IPAddressing
import MeshState
import SPIFFE
import SeededRandom
import Testing

@Suite("Mesh snapshot")
struct MeshSnapshotTests {
    @Test("finds a workload by uid, by address and by names")
    func lookups() throws {
        let web = try pod("web", serviceAccount: "web", "10.0.0.2", "fd00::2")
        let mesh = MeshSnapshot([web])
        #expect(mesh.workload(uid: "web") == web)
        #expect(mesh.workload(at: ip("10.0.0.2")) == web)
        #expect(mesh.workload(at: ip("fd00::2")) == web)
        #expect(mesh.workload(at: ip("::ffff:10.0.0.2")) == web)
        #expect(mesh.workload(at: ip("10.0.0.3")) == nil)
        #expect(mesh.workload(name: "web", namespace: "shop", serviceAccount: "web", node: "node-a") == web)
        #expect(mesh.workload(name: "web", namespace: "shop", serviceAccount: "web", node: "") == web)
        #expect(mesh.workload(name: "web", namespace: "shop", serviceAccount: "web", node: "node-b") == nil)
        #expect(mesh.workload(name: "web", namespace: "shop", serviceAccount: "db", node: "node-a") == nil)
    }

    @Test("leaves earlier snapshots as they were")
    func immutable() throws {
        let first = MeshSnapshot([try pod("web", "10.0.0.2")])
        let second = first.applying(MeshUpdate(removed: ["web"]))
        #expect(first.workload(at: ip("10.0.0.2")) != nil)
        #expect(second.workload(at: ip("10.0.0.2")) == nil)
        #expect((first.version, second.version) == (1, 2))
    }

    @Test("moves a workload whose address changed")
    func moved() throws {
        let mesh = MeshSnapshot([try pod("web", "10.0.0.2")])
            .applying(MeshUpdate(upsertedWorkloads: [try pod("web", "10.0.0.3")]))
        #expect(mesh.workload(at: ip("10.0.0.2")) == nil)
        #expect(mesh.workload(at: ip("10.0.0.3"))?.uid == "web")
        #expect(mesh.workloadCount == 1)
    }

    @Test("keeps an endpoint that comes before its service, and after its service has gone")
    func staging() throws {
        let web = try pod("web", "10.0.0.2", services: [webName: [:]])
        let client = try pod("client", "10.0.0.1")
        let vip = at("10.96.0.1:80")
        var mesh = MeshSnapshot([web])
        #expect(mesh.route(from: client, to: vip, random: 0) == .plain(to: vip, destination: nil, service: nil))
        mesh = mesh.applying(MeshUpdate(upsertedServices: [service(webName, "10.96.0.1")]))
        guard case .tunnel = mesh.route(from: client, to: vip, random: 0) else {
            Issue.record("the staged endpoint is not used")
            return
        }
        mesh = mesh.applying(MeshUpdate(removed: [webName.description]))
        #expect(mesh.service(at: vip.ip) == nil)
        mesh = mesh.applying(MeshUpdate(upsertedServices: [service(webName, "10.96.0.2")]))
        guard case .tunnel = mesh.route(from: client, to: at("10.96.0.2:80"), random: 0) else {
            Issue.record("the endpoint is lost with its service")
            return
        }
    }

    @Test("removes before it adds, so that one update can replace")
    func order() throws {
        let mesh = MeshSnapshot([try pod("web", "10.0.0.2")])
            .applying(MeshUpdate(upsertedWorkloads: [try pod("web", "10.0.0.3")], removed: ["web", "unknown", "a/b"]))
        #expect(mesh.workload(uid: "web")?.addresses == [ip("10.0.0.3")])
    }

    @Test("two claims to one address: HBONE, then healthy, then the later")
    func duplicateAddresses() throws {
        let plain = try pod("plain", "10.0.0.2", tunnel: .none)
        let sick = try pod("sick", "10.0.0.2", status: .unhealthy)
        let old = try pod("old", "10.0.0.2")
        let new = try pod("new", "10.0.0.2")
        let address = ip("10.0.0.2")
        #expect(MeshSnapshot([plain, old]).workload(at: address) == old)
        #expect(MeshSnapshot([old, plain]).workload(at: address) == old)
        #expect(MeshSnapshot([sick, plain]).workload(at: address) == sick)
        #expect(MeshSnapshot([old, sick]).workload(at: address) == old)
        #expect(MeshSnapshot([old, new]).workload(at: address) == new)
        #expect(MeshSnapshot([new, old]).workload(at: address) == old)
        let left = MeshSnapshot([old, new]).applying(MeshUpdate(removed: ["new"]))
        #expect(left.workload(at: address) == old)
    }

    @Test("reads service names of exactly two parts")
    func serviceNames() {
        #expect(ServiceName("shop/web") == ServiceName(namespace: "shop", hostname: "web"))
        for wrong in ["", "/", "shop", "shop/", "/web", "a//Pod/b/c", "a/b/c"] {
            #expect(ServiceName(wrong) == nil)
        }
    }

    @Test("knows which ports are its own inside a pod")
    func reservedPorts() {
        #expect([15001, 15006, 15008].allSatisfy(ReservedPort.isListenerInPod))
        #expect(![0, 80, 15000, 15020, 15021].contains(where: ReservedPort.isListenerInPod))
    }

    @Test("agrees with a naive model after each of 2000 random updates")
    func model() throws {
        var random = SeededGenerator(seed: 7)
        var mesh = MeshSnapshot()
        var model = NaiveMesh()
        let client = try pod("client", "10.9.9.9")
        for step in 0..<2000 {
            let update = try randomUpdate(&random)
            mesh = mesh.applying(update)
            model.apply(update)
            #expect(mesh.version == UInt64(step + 1))
            #expect(mesh.workloadCount == model.workloads.count)
            #expect(mesh.serviceCount == model.services.count)
            for host in 0..<8 {
                let address = IPAddress(v4: 0x0a00_0000 + UInt32(host))
                #expect(mesh.workload(at: address) == model.workload(at: address))
                let destination = SocketAddress(address, port: UInt16.random(in: 80...82, using: &random))
                let route = mesh.route(from: client, to: destination, random: random.next())
                #expect(model.allows(route, to: destination, from: client), "step \(step): \(route)")
            }
        }
    }

    private func randomUpdate(_ random: inout SeededGenerator) throws -> MeshUpdate {
        let names = (0..<3).map { ServiceName(namespace: "ns\($0 % 2)", hostname: "h\($0)") }
        func addresses() -> [IPAddress] {
            (0..<Int.random(in: 0..<3, using: &random)).map { _ in
                IPAddress(v4: 0x0a00_0000 + UInt32.random(in: 0..<8, using: &random))
            }
        }
        var update = MeshUpdate()
        for _ in 0..<Int.random(in: 0..<3, using: &random) {
            var services: [ServiceName: [UInt16: UInt16]] = [:]
            for name in names where Bool.random(using: &random) {
                services[name] = Bool.random(using: &random) ? [80: 9000] : [:]
            }
            let uid = "u\(Int.random(in: 0..<6, using: &random))"
            update.upsertedWorkloads.append(
                try Workload(
                    uid: uid, name: uid, namespace: "ns0", serviceAccount: "sa", trustDomain: TrustDomain("td"),
                    addresses: addresses(), tunnelProtocol: Bool.random(using: &random) ? .hbone : .none,
                    status: Bool.random(using: &random) ? .healthy : .unhealthy,
                    capacity: UInt32.random(in: 0..<3, using: &random), services: services))
        }
        if Int.random(in: 0..<4, using: &random) == 0, let name = names.randomElement(using: &random) {
            update.upsertedServices.append(
                Service(
                    name: name, shortName: "s", addresses: addresses(),
                    ports: Bool.random(using: &random) ? [80: 8080, 81: 0] : [81: 81]))
        }
        if Int.random(in: 0..<3, using: &random) == 0 {
            update.removed.append("u\(Int.random(in: 0..<6, using: &random))")
            if Bool.random(using: &random), let name = names.randomElement(using: &random) {
                update.removed.append(name.description)
            }
        }
        return update
    }
}

/// The same answers without any index: lists, searched from end to end.
private struct NaiveMesh {
    /// In the order in which they were first seen.
    var workloads: [Workload] = []
    var services: [Service] = []
    /// Every claim to an address, in the order in which it was made.
    var claims: [(address: IPAddress, uid: String)] = []
    var serviceClaims: [(address: IPAddress, name: ServiceName)] = []

    mutating func apply(_ update: MeshUpdate) {
        for name in update.removed {
            workloads.removeAll { $0.uid == name }
            services.removeAll { $0.name.description == name }
            forgetStaleClaims()
        }
        for service in update.upsertedServices {
            services.removeAll { $0.name == service.name }
            services.append(service)
            forgetStaleClaims()
            for address in service.addresses where !serviceClaims.contains(where: { $0 == (address, service.name) }) {
                serviceClaims.append((address, service.name))
            }
        }
        for workload in update.upsertedWorkloads {
            workloads.removeAll { $0.uid == workload.uid }
            workloads.append(workload)
            forgetStaleClaims()
            for address in workload.addresses where !claims.contains(where: { $0 == (address, workload.uid) }) {
                claims.append((address, workload.uid))
            }
        }
    }

    private mutating func forgetStaleClaims() {
        claims.removeAll { claim in
            !workloads.contains { $0.uid == claim.uid && $0.addresses.contains(claim.address) }
        }
        serviceClaims.removeAll { claim in
            !services.contains { $0.name == claim.name && $0.addresses.contains(claim.address) }
        }
    }

    func workload(at address: IPAddress) -> Workload? {
        let candidates = claims.filter { $0.address == address }
            .compactMap { claim in workloads.first { $0.uid == claim.uid } }
        let orders: [(Workload) -> Bool] = [
            { $0.tunnelProtocol == .hbone && $0.status == .healthy }, { $0.tunnelProtocol == .hbone },
            { $0.status == .healthy }, { _ in true },
        ]
        for isWanted in orders {
            if let found = candidates.last(where: isWanted) { return found }
        }
        return nil
    }

    func service(at address: IPAddress, from namespace: String) -> Service? {
        let names = serviceClaims.filter { $0.address == address }.map(\.name)
        let name = names.first { $0.namespace == namespace } ?? names.first
        return services.first { $0.name == name }
    }

    func allows(_ route: Route, to destination: SocketAddress, from client: Workload) -> Bool {
        guard let service = service(at: destination.ip, from: client.namespace) else {
            guard let workload = workload(at: destination.ip) else {
                return route == .plain(to: destination, destination: nil, service: nil)
            }
            return leads(route, to: workload, port: destination.port, service: nil)
        }
        let endpoints = workloads.compactMap { workload -> (Workload, UInt16)? in
            guard let map = workload.services[service.name], let common = service.ports[destination.port],
                workload.status == .healthy, workload.capacity > 0, !workload.addresses.isEmpty
            else { return nil }
            let port = map[destination.port] ?? common
            return port > 0 ? (workload, port) : nil
        }
        if endpoints.isEmpty { return route == .refused(.noHealthyUpstream(destination)) }
        return endpoints.contains { leads(route, to: $0.0, port: $0.1, service: service.name) }
    }

    private func leads(_ route: Route, to workload: Workload, port: UInt16, service: ServiceName?) -> Bool {
        switch route {
        case .tunnel(let tunnel):
            workload.tunnelProtocol == .hbone && tunnel.destination == workload && tunnel.authority.port == port
                && tunnel.endpoint.port == 15008 && workload.addresses.contains(tunnel.endpoint.ip)
                && tunnel.authority.ip == tunnel.endpoint.ip && tunnel.service == service
                && tunnel.expected == [workload.identity]
        case .plain(let to, let destination, let through):
            workload.tunnelProtocol == .none && destination == workload && to.port == port
                && workload.addresses.contains(to.ip) && through == service
        case .refused, .unknown:
            false
        }
    }
}
