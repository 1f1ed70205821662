import Glibc
import Testing

/// An emergency rotation that leaves a node behind, and what brings it back: by the built program, as an operator would.
@Suite(
    "culvert ca rotate --emergency",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .timeLimit(.minutes(3))
)
struct EmergencyCommandTests {
    /// `node` starts node-a's proxy, which has no agent: what is asked is what it waits for of the authority.
    private static let functions = """
        node() {
            $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                --ca-attest 127.0.0.1:15011 --ca-bundle bundle.pem --join-token-file token --admin-listen 127.0.0.1 \\
                2>>proxy.log &
            node=$!
        }
        has() { ca status | grep -q "^node-a .* $1 "; }
        silent() { curl -s http://127.0.0.1:15021/healthz/ready >ready && ! grep -q "$1" ready; }
        says() { curl -s http://127.0.0.1:15021/healthz/ready | grep -q "$1"; }

        """

    @Test("says who is cut off, and why; the node says what it needs, and comes back when it has that")
    func late() throws {
        let output = try AuthorityPlay.output(
            of: Self.functions + """
                authority --emergency-activation 1s --emergency-revocation 1s
                cp data/bundle.pem .
                ca "token create" --node node-a >token 2>/dev/null
                node; settled has 1
                kill -9 $node; wait $node 2>/dev/null
                ca rotate --emergency --reason "a tape is lost" --timeout 60s >steps 2>progress; echo "rotated: $?"
                grep -c 'signs from now on .*; cut off: 1 node: node-a$' steps
                grep -c 'is revoked, and out of bundle 3 .*; cut off: 1 node: node-a$' steps
                grep -o '^cut off.*\\|^hint: a node that comes back' progress
                ca status | grep '^warning' | cut -c1-60
                ca status --format json | grep -c '"cutOff" *: *"it has bundle 1'
                grep '"nodes_cut_off"' ca.log | grep -c '"node-a"'
                node
                settled says "not recognised.*put its present bundle" && echo "it wants the bundle"
                ca bundle >bundle.pem
                settled says "put a new join token" && echo "it wants a token"
                ca "token create" --node node-a >token 2>/dev/null
                settled has 3 && echo "it is back"
                settled silent "authority" && echo "and waits for the authority no more"
                ca status | grep -c '^warning'
                kill $node $ca; wait
                """)
        #expect(
            output == """
                rotated: 0
                1
                1
                cut off: node-a: it has bundle 1, and the root that signs is in bundle 2 and later
                hint: a node that comes back
                warning: 1 node is cut off: node-a (it has bundle 1, and the
                1
                2
                it wants the bundle
                it wants a token
                it is back
                and waits for the authority no more
                0

                """)
    }
}
