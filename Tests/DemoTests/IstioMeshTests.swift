import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import Testing

@testable import culvert

/// The whole mesh as the demo runs it, with proxies that take every identity by Istio's CreateCertificate.
@Suite(
    "A mesh that takes its identities by Istio's protocol", .serialized,
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(3)))
struct IstioMeshTests {
    private struct Status: Decodable {
        struct Node: Decodable {
            let name: String
            let live: Bool
        }
        let issuedSinceStart: Int
        let deniedSinceStart: Int
        let nodes: [Node]
    }

    private func status(_ mesh: MeshProcesses) throws -> Status {
        try JSONDecoder().decode(Status.self, from: Data(try mesh.administer(["status", "--format", "json"]).utf8))
    }

    /// Every client goes on, nothing breaks, and no byte of it is in plaintext.
    private func expectTraffic(_ scene: DemoScene, _ mesh: MeshProcesses, meanwhile: () throws -> Void = {}) throws {
        let traffic = DemoTraffic(network: scene.network)
        let clients = try SoakClient.Kind.allCases.map { try SoakClient($0, traffic, seed: 0) }
        defer { for client in clients { client.stop() } }
        try meanwhile()
        let before = clients.map(\.state)
        let goOn = try clients.goOn(from: before, within: .seconds(30))
        for client in clients { client.stop() }
        let states = clients.map(\.state)
        #expect(goOn, "\(states)\n\(mesh.logTails)")
        #expect(states.allSatisfy { $0.broken == 0 && $0.wrong.isEmpty }, "\(states)\n\(mesh.logTails)")
        let wire = scene.taps.count(scene.network.topology.pairs.filter(\.isProtected))
        #expect(wire.tunnel > 0 && wire.plaintext == 0)
        try mesh.checkAlive()
    }

    @Test("from Culvert's own authority, by tokens alone: it serves, renews under traffic, and its nodes have names")
    func ownAuthority() throws {
        let scene = try DemoScene("istio")
        defer { scene.remove() }
        let topology = scene.network.topology
        let options = [
            "--serving-name", "\(topology.authority.v4)", "--leaf-ttl", "10s", "--intermediate-ttl", "10m",
            "--root-ttl",
            "2h", "--connection-age", "1s",
        ]
        let mesh = try scene.startMesh(authority: options) { mesh in
            for node in topology.nodes {
                try mesh.startProxy(
                    of: node,
                    identityOptions: [
                        "--ca-protocol", "istio",
                        "--ca", "\(SocketAddress(topology.authority.v4, port: MeshProcesses.attestationPort))",
                        "--ca-token-file", mesh.tokenFile(of: node), "--ca-bundle", mesh.bundle,
                    ])
            }
        }
        defer { mesh.stop() }
        let first = try status(mesh)
        #expect(first.nodes.map(\.name) == topology.nodes.map(\.name).sorted())
        #expect(first.nodes.allSatisfy { !$0.live })
        let pods = topology.pods.count(where: \.isEnrolled)
        try expectTraffic(scene, mesh) {
            // Each has been renewed, and the ones before are on their way out.
            let renewed = try Interruption.wait(atMost: .seconds(30)) {
                try status(mesh).issuedSinceStart >= first.issuedSinceStart + 2 * pods
            }
            #expect(renewed)
        }
        #expect(try status(mesh).deniedSinceStart == 0)
    }

    /// Where `make grpcio` puts it.
    private static let grpcio: String? = {
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: ".build/grpcio").path()
        return access(path, F_OK) == 0 ? path : nil
    }()

    /// What istiod does for this: a bearer's token looked at, the identity from the call's metadata, openssl's signature, and the roots as
    /// the answer's last element. Shares nothing with Culvert.
    private static let istiod = """
        import concurrent.futures, grpc, os, subprocess, sys, tempfile

        def fields(data):
            def varint():
                nonlocal data
                value = shift = 0
                while True:
                    byte, data = data[0], data[1:]
                    value, shift = value | (byte & 127) << shift, shift + 7
                    if byte < 128: return value
            while data:
                tag = varint()
                if tag & 7 == 0:
                    yield tag >> 3, varint()
                    continue
                size = varint()
                yield tag >> 3, data[:size]
                data = data[size:]

        def element(text):
            size, out = len(text), b""
            while size > 127: out, size = out + bytes([size & 127 | 128]), size >> 7
            return b"\\x0a" + out + bytes([size]) + text

        def openssl(*words, text=None):
            return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True).stdout

        def key(name): openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name)

        def sign(request, extensions):
            with tempfile.NamedTemporaryFile("w", suffix=".cnf") as file:
                file.write("basicConstraints=critical,CA:FALSE\\nkeyUsage=critical,digitalSignature\\n"
                    "extendedKeyUsage=serverAuth,clientAuth\\nauthorityKeyIdentifier=keyid\\n" + extensions)
                file.flush()
                return openssl("x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-days", "1", "-extfile", file.name,
                    "-set_serial", "0x" + os.urandom(15).hex(), text=request)

        def create(request, context):
            if ("authorization", "Bearer a-projected-token") not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token of mine")
            message = dict(fields(request))
            entries = [dict(fields(entry)) for number, entry in fields(message[4]) if number == 1]
            identity = next(dict(fields(entry[2]))[3] for entry in entries if entry[1] == b"ImpersonatedIdentity").decode()
            print("asked for", identity, flush=True)
            leaf = sign(message[1], "subjectAltName=critical,URI:" + identity)
            return element(leaf) + element(open("root.pem", "rb").read())

        class Service(grpc.GenericRpcHandler):
            def service(self, call):
                if call.method == "/istio.v1.auth.IstioCertificateService/CreateCertificate":
                    return grpc.unary_unary_rpc_method_handler(create)

        os.chdir(sys.argv[1])
        for name in ["root.key", "server.key"]: key(name)
        openssl("req", "-x509", "-new", "-key", "root.key", "-subj", "/O=cluster.local", "-days", "10", "-out", "root.pem.new",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        request = openssl("req", "-new", "-key", "server.key", "-subj", "/CN=istiod")
        os.rename("root.pem.new", "root.pem")
        chain = sign(request, "subjectAltName=DNS:istiod.istio-system.svc")
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers([Service()])
        credentials = grpc.ssl_server_credentials([(open("server.key", "rb").read(), chain)])
        server.add_secure_port(sys.argv[2], credentials)
        server.start()
        open("serving", "w").close()
        server.wait_for_termination()
        """

    @Test(
        "from a foreign authority that speaks it, by a bearer's token: two nodes carry traffic under its certificates",
        .enabled(if: grpcio != nil, "needs grpcio: run `make grpcio`"))
    func foreignAuthority() throws {
        let scene = try DemoScene("istiod")
        defer { scene.remove() }
        let topology = scene.network.topology
        let directory = try scene.directory.makeDirectory("istiod")
        try TextFile.write("\(directory)/istiod.py", Self.istiod)
        let address = SocketAddress(topology.authority.v4, port: 15017)
        let parent = try ParentPipe()
        let istiod = try DemoProcess(
            "istiod", executable: "/bin/sh",
            arguments: [
                "-c",
                "PYTHONPATH=\(try #require(Self.grpcio)) exec python3 \(directory)/istiod.py \(directory) \(address)",
            ], in: scene.network[topology.authorityNamespace], logPath: "\(directory)/log", parent: parent)
        defer { istiod.kill() }
        let serves = try Interruption.wait(atMost: .seconds(30)) {
            TextFile.exists("\(directory)/serving") || !istiod.isRunning
        }
        try #require(serves && istiod.isRunning, "\(istiod.logTail ?? "")")
        try TextFile.write("\(directory)/token", "a-projected-token\n")
        // The agents' mesh file is the demo authority's to write; nobody asks it for anything.
        let mesh = try scene.startMesh { mesh in
            for node in topology.nodes {
                try mesh.startProxy(
                    of: node,
                    identityOptions: [
                        "--ca-protocol", "istio", "--ca", "\(address)", "--ca-server-name", "istiod.istio-system.svc",
                        "--ca-token-file", "\(directory)/token", "--ca-bundle", "\(directory)/root.pem",
                    ])
            }
        }
        defer { mesh.stop() }
        try expectTraffic(scene, mesh)
        let log = try TextFile.read("\(directory)/log")
        for pod in topology.pods where pod.isEnrolled { #expect(log.contains("asked for \(pod.spiffeID)\n")) }
        // Its own authority has given nobody anything, but for what it serves under.
        #expect(try status(mesh).issuedSinceStart <= 1)
    }
}
