import Authority
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Logging
import MeshAPI
import SPIFFE
import Testing

@testable import culvert

@Suite("culvert node, on the admin socket", .enabled(if: Transcript.binary != nil), .timeLimit(.minutes(2)))
struct NodeCommandTests {
    private func culvert(_ rig: AuthorityRig, _ command: String) async throws -> String {
        let line = "culvert node \(command) --admin-socket \(rig.adminSocket)"
        // It waits for the child, and the authority answers on the same threads.
        return try await withCheckedThrowingContinuation { done in
            Thread.detached { done.resume(with: Result { try Transcript.run(line) }) }
        }
    }

    private enum Thread {
        static func detached(_ body: @escaping @Sendable () -> Void) {
            var thread = pthread_t()
            let box = Unmanaged.passRetained(Box(body))
            pthread_create(
                &thread, nil,
                { argument in
                    Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
                    return nil
                }, box.toOpaque())
            pthread_detach(thread)
        }

        final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
    }

    @Test("list, ban, unban and evict do what they say; exit status 2 where there is no such node")
    func acts() async throws {
        try await AuthorityRig.running { rig in
            #expect(try await culvert(rig, "list") == "No node has joined.\nexit 0\n")
            rig.pods.set("web", on: "node-a")
            let svid = try await rig.attested("node-a")
            try await rig.calling(as: svid) { client in
                #expect(try await client.outcome("web") == nil)
                #expect(try await culvert(rig, "ban node-a --reason 'disk stolen'") == "Node node-a banned.\nexit 0\n")
                #expect(try await client.outcome("web") == .slowDown(.seconds(100)))
                let list = try await culvert(rig, "list")
                #expect(list.contains("node-a") && list.contains("banned"))
                let show = try await culvert(rig, "show node-a")
                #expect(show.contains("disk stolen") && show.contains("spiffe://culvert.test/ns/shop/sa/web"))
                #expect(
                    try await culvert(rig, "unban node-a --reason found") == "Node node-a unbanned.\nexit 0\n")
                #expect(try await client.outcome("web") == nil)
                #expect(try await culvert(rig, "evict node-a --reason rebuilt") == "Node node-a evicted.\nexit 0\n")
                #expect(try await client.outcome("web") == .attestAgain)
            }
            for command in ["show node-a", "ban node-a --reason x", "evict node-a --reason x"] {
                let output = try await culvert(rig, command)
                #expect(output == "error: no node node-a has attested here\nexit 2\n")
            }
            #expect(try await culvert(rig, "ban node-a --reason ' '").hasSuffix("exit 64\n"))
            #expect(try await culvert(rig, "show 'a/b'").hasSuffix("exit 1\n"))
            let user = AdminCaller.thisProcess.uid
            let acts = rig.events.compactMap { event -> String? in
                switch event {
                case .nodeBanned(_, let reason, let by) where by.uid == user && by.pid > 0: "ban \(reason)"
                case .nodeUnbanned(_, let reason, let by) where by.uid == user: "unban \(reason)"
                case .nodeEvicted(_, let reason, let by) where by.uid == user: "evict \(reason)"
                default: nil
                }
            }
            #expect(acts == ["ban disk stolen", "unban found", "evict rebuilt"])
        }
    }

    @Test("list as JSON has a schema version, and shows who was cloned")
    func json() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            let svid = try await rig.attested("node-a")
            try await rig.calling(as: svid) { client in
                try client.replaceIdentity(with: try await client.renewed(svid))
                #expect(try await client.outcome("web") == nil)
                try await rig.calling(as: svid) { copy in
                    await #expect(throws: AuthorityCallError.self) { try await copy.renewed(svid) }
                }
            }
            let program = """
                import json,sys; d=json.load(sys.stdin); n=d["nodes"][0]
                print(d["schemaVersion"], n["name"], n["state"], "cloneSeenAt" in n, n["leaves"])
                """
            let output = try await culvert(rig, "list --format json").replacing("exit 0\n", with: "")
            let file = "\(rig.directory)/list.json"
            try Data(output.utf8).write(to: URL(filePath: file))
            let read = try Transcript.run("python3 -c '\(program)' < \(file)")
            #expect(read == "1 node-a cloned True []\nexit 0\n")
            #expect(try await culvert(rig, "list").contains("CLONED"))
        }
    }

    @Test("the admin socket serves its own user and root; another who reaches it is turned away by the kernel's word")
    func peerCredentials() async throws {
        try #require(geteuid() == 0, "only root can become somebody else")
        try await AuthorityRig.running { rig in
            // The socket is restricted to its owner a moment after it is there.
            #expect(try await eventually { try await runApart("stat -c %a \(rig.adminSocket)").hasPrefix("600") })
            // As an operator who opened the doors too wide.
            chmod(rig.directory, 0o755)
            chmod(rig.adminSocket, 0o666)
            let binary = try #require(Transcript.binary)
            let copy = "\(rig.directory)/culvert"
            #expect(symlink(binary, copy) == 0)
            let script = """
                import os, socket, sys
                path = sys.argv[1]
                os.setgid(65534); os.setuid(65534)
                s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(20)
                try:
                    s.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes([0,0,0,4,0,0,0,0,0]))
                    # Its own user is answered with SETTINGS here.
                    print("closed" if s.recv(64) == b"" else "answered")
                except OSError:
                    print("closed")
                """
            let file = "\(rig.directory)/stranger.py"
            try Data(script.utf8).write(to: URL(filePath: file))
            let stranger = try await runApart("python3 \(file) \(rig.adminSocket)")
            #expect(stranger == "closed\nexit 0\n")
            let own = try await runApart("sed -i 's/^os.set.*//' \(file); python3 \(file) \(rig.adminSocket)")
            #expect(own == "answered\nexit 0\n")
            #expect(try await culvert(rig, "list").hasSuffix("exit 0\n"))
        }
    }

    private func runApart(_ command: String) async throws -> String {
        try await withCheckedThrowingContinuation { done in
            Thread.detached { done.resume(with: Result { try Transcript.run(command) }) }
        }
    }

    @Test("a client that claims to be somebody else in a header is still who the kernel says")
    func forgedHeader() async throws {
        try await AuthorityRig.running { rig in
            _ = try await rig.attested("node-a")
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: rig.adminSocket, authority: "localhost"),
                transportSecurity: .plaintext)
            try await withGRPCClient(transport: transport) { client in
                let service = Culvert_Authority_V1_NodeAdmin.Client(wrapping: client)
                var request = Culvert_Authority_V1_NodeActRequest()
                request.name = "node-a"
                request.reason = "forged"
                _ = try await service.banNode(request, metadata: ["culvert-local-peer": "1 4242"])
            }
            let own = AdminCaller.thisProcess
            #expect(
                rig.events.contains(.nodeBanned(try NodeName("node-a"), reason: "forged", by: own)))
        }
    }
}
