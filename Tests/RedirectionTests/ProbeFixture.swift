import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

/// A strict pod, captured and guarded, on a node with addresses of its own, and a cgroup of a kubelet's.
final class ProbeFixture: Sendable {
    let base: CaptureFixture
    let podGuard: PodGuard
    let kubelet: String
    /// nil where the guard recognises the kubelet.
    let translation: ProbeTranslation?
    /// The proxy's.
    let inbound: OwnedDescriptor
    let application: OwnedDescriptor
    static let port: UInt16 = 8080

    var pod: TestNetwork.Host { base.pod }
    var peer: TestNetwork.Host { base.peer }
    var node: NetworkNamespace { base.base.network.bridge }

    static func nodeAddress(_ family: IPAddress.Family) -> String { family == .v4 ? "10.244.9.1" : "fd00:244:9::1" }

    var source: ProbeSource { .standard }

    /// `translates` has the node give the kubelet's connections a source; node and pod then accept packets only from where their routes
    /// lead to their sources.
    init(isEBPF: Bool, trusts: Bool = true, translates: Bool = false) throws {
        base = try CaptureFixture()
        kubelet = base.cgroup + "-kubelet"
        guard mkdir(kubelet, 0o755) == 0 else { throw Errno(code: errno, call: "make \(kubelet)") }
        let network = base.base.network
        _ = try network.bridge.run {
            TestNetwork.shell(
                """
                sysctl -qw net.ipv6.conf.br0.disable_ipv6=0 net.ipv6.conf.br0.accept_dad=0; ip link set lo up; \
                ip addr add 10.244.9.1/24 dev br0; ip addr add fd00:244:9::1/64 dev br0 nodad
                """)
        }
        podGuard = try PodGuard(directory: base.pins, mode: .enforce, host: network.bridge)
        let capture = isEBPF ? try base.capture() : nil
        var plan = RedirectionPlan()
        plan.isProbed = true
        plan.probeSource = translates ? .standard : nil
        translation = translates ? try ProbeTranslation(host: network.bridge) : nil
        try podGuard.attach(pod: "pod-1", in: base.pod.namespace, plan: plan)
        try PodRedirection(
            pod: "pod-1", namespace: base.pod.namespace, stateDirectory: base.base.directory, plan: plan,
            capture: capture, pinDirectory: base.pins, marker: isEBPF ? nil : try ProbeMarker(directory: base.pins)
        ).install()
        inbound = try isEBPF ? base.inboundListener() : base.base.inboundListener()
        application = try base.pod.listener(Self.port)
        if let translation {
            for host in network.hosts {
                _ = try host.shell(
                    "ip route replace default via 10.244.9.1; ip -6 route replace default via fd00:244:9::1; \(Self.strictly)"
                )
            }
            _ = try network.bridge.run { TestNetwork.shell(Self.strictly) }
            try podGuard.reserve(.standard)
            if trusts { try translation.update(kubelet: kubelet, pods: [base.pod.v4, base.pod.v6]) }
        } else if trusts {
            try podGuard.trust(kubelet: kubelet)
        }
    }

    private static let strictly = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $file; done"

    deinit { rmdir(kubelet) }

    /// Begins what a process on the node, in that cgroup, does with a connection to the pod, as descriptor 3; ends with `finish`.
    func probe(
        _ family: IPAddress.Family, from cgroup: String?, in namespace: NetworkNamespace? = nil, _ script: String
    ) throws -> NodeProcess {
        let enter = cgroup.map { "echo $$ > \($0)/cgroup.procs; " } ?? ""
        let text = "\(enter)exec 3<>/dev/tcp/\(pod.address(family))/\(Self.port) || exit 7; \(script)"
        return try (namespace ?? node).run { try NodeProcess(text) }
    }
}

/// A shell that runs beside the test.
final class NodeProcess {
    private let stream: UnsafeMutablePointer<FILE>

    init(_ script: String) throws {
        guard let stream = popen("timeout -s KILL 20 bash -c '\(script)' 2>&1", "r") else {
            throw Errno(code: errno, call: "popen")
        }
        self.stream = stream
    }

    /// What it printed, when it has ended.
    func finish() -> String {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            guard count > 0 else { return String(decoding: text, as: UTF8.self) }
            text += buffer[..<count]
        }
    }

    deinit { pclose(stream) }
}
