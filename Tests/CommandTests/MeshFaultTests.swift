import FoundationEssentials
import Glibc
import NamespaceKit
import Testing

/// The roles as an operator runs them, with what goes wrong in the first hour: on a host of their own.
@Suite(
    "A node that cannot join says why",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2))
)
struct MeshFaultTests {
    /// Prints what readiness says 2 s after the proxy's start, and then the proxy's warnings, each once.
    private static let proxy = """
        proxy() {
            $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                --ca-bundle ${bundle:-data/bundle.pem} --join-token-file token --admin-listen 127.0.0.1 2>proxy.log &
            pid=$!
            sleep 2
            echo "readiness: $(curl -s -m 2 -o answer -w '%{http_code}' http://127.0.0.1:15021/healthz/ready) $(cat answer)"
            kill $pid; wait $pid
            echo "exit $?"
            cat proxy.log
        }
        """

    private static let authority = """
        authority() {
            $culvert ca serve --data data --mesh mesh.yaml --listen 127.0.0.1:15012 --attest-listen 127.0.0.1:15011 \\
                --admin-socket ca.sock "$@" 2>ca.log &
            ca=$!
            for i in $(seq 100); do [ -S ca.sock ] && [ -s data/bundle.pem ] && return; sleep 0.05; done
            cat ca.log
        }
        """

    private static let mesh = """
        cat >mesh.yaml <<END
        trustDomain: td.test
        namespaces: [{name: shop}]
        pods: [{uid: a, name: a, namespace: shop, node: node-a, addresses: [10.1.0.1]}]
        END
        """

    private func play(_ script: String) throws -> String {
        let binary = try #require(Transcript.binary)
        let directory = "/tmp/cvt-command-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        let file = "\(directory)/script"
        let text = ["cd \(directory)", "culvert=\(binary)", Self.mesh, Self.authority, Self.proxy, script].joined(
            separator: "\n")
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        let host = try TestNetwork(hosts: 1).hosts[0]
        return try host.shell("timeout -k 1 30 bash \(file) 2>&1; rm -rf \(directory)")
    }

    @Test("when the authority cannot be reached: it tries again, and readiness names the reason")
    func unreachable() throws {
        let output = try play("authority; kill $ca; wait $ca; echo token >token; proxy")
        #expect(output.contains("readiness: 503 not ready: authority: the authority is unreachable: "))
        #expect(output.contains("Node not attested yet"))
        #expect(output.contains("exit 0\n"))
    }

    @Test("with a token that the authority does not know")
    func unknownToken() throws {
        let output = try play("authority; echo nonsense >token; proxy; kill $ca")
        #expect(output.contains("readiness: 503 not ready: authority: the authority refuses: "))
        #expect(output.contains("token"))
    }

    @Test("with a token that was used already, after its first use has worked")
    func usedToken() throws {
        let output = try play(
            """
            authority; $culvert ca token create --node node-a --admin-socket ca.sock >token 2>/dev/null
            proxy | grep -c 'Node attested'
            rm -r state; proxy; kill $ca
            """)
        #expect(output.hasPrefix("1\n"))
        #expect(output.contains("readiness: 503 not ready: authority: the authority refuses: "))
        #expect(output.contains("used"))
    }

    @Test("and after a restart joins with its own certificate, without a token")
    func restarted() throws {
        let output = try play(
            """
            authority; $culvert ca token create --node node-a --admin-socket ca.sock >token 2>/dev/null
            proxy >/dev/null; rm token; proxy; kill $ca
            """)
        // All that it waits for is the agent, which is not there.
        #expect(output.contains("readiness: 503 not ready: mesh: "))
        #expect(!output.contains("Node not attested yet"))
    }

    @Test("with a token of another node's")
    func otherNodesToken() throws {
        let output = try play(
            "authority; $culvert ca token create --node node-b --admin-socket ca.sock >token 2>/dev/null; proxy; kill $ca"
        )
        #expect(output.contains("readiness: 503 not ready: authority: "))
        #expect(output.contains("spiffe://td.test/culvert/node/node-b"))
    }

    @Test("with a token that has expired")
    func expiredToken() throws {
        let output = try play(
            """
            authority; $culvert ca token create --node node-a --ttl 1s --admin-socket ca.sock >token 2>/dev/null
            sleep 1.2; proxy; kill $ca
            """)
        #expect(output.contains("readiness: 503 not ready: authority: the authority refuses: "))
        #expect(output.contains("expired"))
    }

    @Test("when the bundle it was given is another authority's: it does not talk to an impostor")
    func impostor() throws {
        let output = try play(
            """
            $culvert ca serve --data other --mesh mesh.yaml --listen 127.0.0.1:25012 --attest-listen 127.0.0.1:25011 \\
                --admin-socket other.sock 2>/dev/null & other=$!
            for i in $(seq 100); do [ -s other/bundle.pem ] && break; sleep 0.05; done; kill $other
            authority; $culvert ca token create --node node-a --admin-socket ca.sock >token 2>/dev/null
            bundle=other/bundle.pem proxy; kill $ca
            """)
        #expect(output.contains("readiness: 503 not ready: authority: the authority is unreachable: "))
        #expect(!output.contains("Node attested"))
    }

    @Test(
        "when what it was told makes no sense",
        arguments: [
            ("--ca nonsense", "error: --ca: 'nonsense' is no address\nhint: write 10.0.0.1:15012 or [fd00::1]:15012\n"),
            ("--ca-bundle missing.pem", "error: --ca-bundle: open missing.pem: No such file or directory\n"),
            ("--trust-domain UPPER", "error: --trust-domain: "),
        ])
    func nonsense(option: String, expected: String) throws {
        let output = try play(
            """
            authority; kill $ca
            $culvert proxy run --node n --trust-domain td.test --ca 127.0.0.1:1 --ca-bundle data/bundle.pem \(option); echo "exit $?"
            """)
        #expect(output.contains(expected))
        #expect(output.hasSuffix("exit 1\n"))
    }
}
