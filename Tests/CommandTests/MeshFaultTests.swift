import Glibc
import Testing

/// The roles as an operator runs them, with what goes wrong in the first hour: on a host of their own.
@Suite(
    "A node that cannot join says why",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2))
)
struct MeshFaultTests {
    private func play(_ script: String) throws -> String { try MeshScript.play(script) }

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
        #expect(output.contains("readiness: 503 not ready: authority: the authority is not recognised: "))
        #expect(output.contains("put its present bundle (“culvert ca bundle” there) in other/bundle.pem"))
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
