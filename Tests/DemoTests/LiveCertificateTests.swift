import Glibc
import LinuxNetworking
import NamespaceKit
import Testing

@testable import culvert

/// What `culvert cert` shows of proxies that run, as their operator would ask.
@Suite(
    "The certificates of a running proxy", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(2)))
struct LiveCertificateTests {
    @Test("are listed from its socket, and shown by its port, which then wants one of ours")
    func live() throws {
        let scene = try DemoScene("live")
        defer { scene.remove() }
        let culvert = try #require(culvertBinary)
        let mesh = try scene.startMesh()
        defer { mesh.stop() }

        let topology = scene.network.topology
        for node in topology.nodes {
            let socket = scene.directory.file("\(node.name)/certificates.sock")
            let list = TestNetwork.shell("\(culvert) cert list \(socket) 2>&1; echo exit $?")
            for pod in topology.pods {
                #expect(list.contains("\(pod.spiffeID) ") == (pod.isEnrolled && pod.node == node.name), "\(list)")
            }
            #expect(list.hasSuffix("exit 0\n"), "\(list)")
            let verdicts = TestNetwork.shell(
                "\(culvert) cert inspect --bundle --format pem \(socket) | grep -c PRIVATE; "
                    + "\(culvert) cert verify --roots \(mesh.bundle) \(socket) >/dev/null && echo verified")
            #expect(verdicts == "0\nverified\n")
        }

        let pod = try #require(topology.pods.first { $0.isEnrolled })
        let shown = try scene.network[topology.node(of: pod)].run {
            TestNetwork.shell(
                "\(culvert) cert inspect --connect \(pod.address.v4):15008 --roots \(mesh.bundle) 2>&1; echo exit $?")
        }
        #expect(shown.contains(pod.spiffeID), "\(shown)")
        #expect(shown.contains("certificate required"), "\(shown)")
        #expect(shown.hasSuffix("exit 0\n"), "\(shown)")
    }

    @Test("cannot be asked of a socket that nobody serves")
    func gone() throws {
        let culvert = try #require(culvertBinary)
        let path = "/tmp/cvt-gone-\(getpid()).sock"
        let said = TestNetwork.shell(
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind(\"\(path)\")'; "
                + "\(culvert) cert list \(path) 2>&1; echo exit $?; rm \(path)")
        #expect(said.contains("is the proxy running?"), "\(said)")
        #expect(said.hasSuffix("exit 2\n"), "\(said)")
    }
}
