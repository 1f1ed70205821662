import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Redirection
import SPIFFE
import Synchronization
import Testing

@testable import Dataplane

/// Three hosts on one link: `client` and `server` enrolled, each with a proxy of its own; `outsider` not.
///
/// Redirection, certificates, TLS and HTTP/2 are the real ones; only the control plane is the test.
final class TestMesh: Sendable {
    let trust: TestTrust
    let client: TestPod
    let server: TestPod
    let outsider: TestNetwork.Host
    private let stateDirectory: String
    private let network: TestNetwork

    /// `clientTrust` makes the client's proxy one of another trust domain, which believes ours, too. Unless the mesh `isKnown`, `publish`
    /// tells the proxies of it for the first time.
    init(
        identities: Bool = true, isKnown: Bool = true, clientTrust: TestTrust? = nil,
        configure: @Sendable (inout DataplaneConfiguration) -> Void = { _ in }
    ) async throws {
        trust = try TestTrust()
        network = try TestNetwork(hosts: 3)
        stateDirectory = "/tmp/cvt-dataplane-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(stateDirectory, 0o700)
        client = try TestPod(
            "client", host: network.hosts[0], trust: clientTrust ?? trust, stateDirectory: stateDirectory, configure)
        server = try TestPod("server", host: network.hosts[1], trust: trust, stateDirectory: stateDirectory, configure)
        outsider = network.hosts[2]
        if isKnown { try publish(expectingServerAs: "server") }
        for (pod, own) in [(client, clientTrust ?? trust), (server, trust)] {
            try pod.dataplane.publish(trust.bundles)
            if identities { try pod.dataplane.publish(pod.svid(own)) }
            try await pod.enrol()
        }
    }

    /// Tells both proxies the mesh; `serviceAccount` is who the client's proxy believes the server to be, `speaking` how.
    func publish(
        expectingServerAs serviceAccount: String, speaking tunnel: Workload.TunnelProtocol = .hbone,
        outsiderSpeaking outsiderTunnel: Workload.TunnelProtocol = .none, isStrict: Bool = false
    ) throws {
        let mesh = try snapshot(
            expectingServerAs: serviceAccount, speaking: tunnel, outsiderSpeaking: outsiderTunnel, isStrict: isStrict)
        for pod in [client, server] { pod.dataplane.publish(mesh) }
    }

    func snapshot(
        expectingServerAs serviceAccount: String, speaking tunnel: Workload.TunnelProtocol = .hbone,
        outsiderSpeaking outsiderTunnel: Workload.TunnelProtocol = .none, isStrict: Bool = false
    ) throws -> MeshSnapshot {
        var believed = try server.workload(serviceAccount: serviceAccount)
        believed.tunnelProtocol = tunnel
        believed.refusesPlaintext = isStrict
        let workloads = try [
            client.workload(serviceAccount: "client"), believed,
            Workload(
                uid: "outsider", name: "outsider", namespace: outsiderTunnel == .none ? "legacy" : "shop",
                serviceAccount: outsiderTunnel == .none ? "default" : "outsider",
                trustDomain: trust.trustDomain, addresses: [outsider.v4, outsider.v6], tunnelProtocol: outsiderTunnel
            ),
        ]
        return MeshSnapshot().applying(MeshUpdate(upsertedWorkloads: workloads))
    }

    func end() async throws {
        // A test may have drained one of them itself.
        for pod in [client, server] { try? await pod.dataplane.drain(deadline: .milliseconds(100)) }
        // The namespaces go with the last reference, the rules with them.
        for pod in [client, server] { try? pod.redirection.remove() }
        rmdir(stateDirectory)
    }
}

/// One enrolled pod with its own proxy.
final class TestPod: Sendable {
    let name: String
    let host: TestNetwork.Host
    let dataplane: Dataplane
    let redirection: PodRedirection
    let records: Records
    /// Among them those of its event loops.
    private let threads: Set<String>
    private let trustDomain: TrustDomain

    init(
        _ name: String, host: TestNetwork.Host, trust: TestTrust, stateDirectory: String,
        _ configure: (inout DataplaneConfiguration) -> Void
    ) throws {
        self.name = name
        self.host = host
        trustDomain = trust.trustDomain
        let records = Records()
        self.records = records
        var configuration = DataplaneConfiguration(trustDomain: trust.trustDomain, node: "node-\(name)")
        configuration.holdTimeout = .seconds(2)
        configuration.handshakeTimeout = .seconds(2)
        configure(&configuration)
        let others = try Usage.threads()
        dataplane = try Dataplane(configuration: configuration) { records.append($0) }
        threads = try Usage.threads().subtracting(others)
        redirection = try PodRedirection(pod: name, namespace: host.namespace, stateDirectory: stateDirectory)
    }

    /// That its event loops spent on a CPU.
    var loopTime: Duration { threads.map(Usage.time(ofLoop:)).reduce(.zero, +) }

    /// Waits until no more than so many connections and tunnels are open at its proxy.
    func settle(connections: Int) async throws {
        for _ in 0..<1000 {
            guard try await dataplane.connectionCount() > connections else { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("\(try await dataplane.connectionCount()) connections stay open at \(name)")
    }

    func svid(_ trust: TestTrust) throws -> X509SVID { try trust.svid(namespace: "shop", serviceAccount: name) }

    func enrol() async throws {
        try redirection.install()
        try await dataplane.attach(pod)
    }

    var pod: Pod {
        get throws {
            try Pod(
                name: .init(uid: name, name: name, namespace: "shop"), serviceAccount: name, trustDomain: trustDomain,
                networkNamespace: host.namespace
            )
        }
    }

    func workload(serviceAccount: String) throws -> Workload {
        try Workload(
            uid: name, name: name, namespace: "shop", serviceAccount: serviceAccount, trustDomain: trustDomain,
            addresses: [host.v4, host.v6], tunnelProtocol: .hbone
        )
    }
}

/// What the proxy wrote down.
final class Records: Sendable {
    private let list = Mutex<[ConnectionRecord]>([])
    private let next = Mutex<(@Sendable () -> Void)?>(nil)

    func append(_ record: ConnectionRecord) {
        list.withLock { $0.append(record) }
        let body = next.withLock { next in
            defer { next = nil }
            return next
        }
        body?()
    }

    /// Is called once, by the event loop that writes the next record.
    func onNext(_ body: @escaping @Sendable () -> Void) { next.withLock { $0 = body } }

    var all: [ConnectionRecord] { list.withLock { $0 } }

    /// The first record that fits, within ten seconds; `nil` if there is none.
    func first(where matches: (ConnectionRecord) -> Bool) async throws -> ConnectionRecord? {
        for _ in 0..<1000 {
            if let found = all.first(where: matches) { return found }
            try await Task.sleep(for: .milliseconds(10))
        }
        return nil
    }
}
