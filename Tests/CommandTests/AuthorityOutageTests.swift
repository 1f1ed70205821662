import Glibc
import Testing

/// A proxy and its authority as processes, with SVIDs that live ten seconds.
@Suite(
    "The authority is away for longer than its nodes' certificates live",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct AuthorityOutageTests {
    @Test("the proxy that ran all the time, and has no token any more, renews by itself when it is back")
    func outage() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority --leaf-ttl 10s --intermediate-ttl 60s --root-ttl 6m
                $culvert ca token create --node node-a --admin-socket ca.sock >token 2>/dev/null
                $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                    --ca-bundle data/bundle.pem --join-token-file token --admin-listen 127.0.0.1 2>proxy.log & proxy=$!
                settled test -s state/node.pem; rm token
                ending() { ! openssl x509 -in state/node.pem -noout -checkend $1 >/dev/null; }
                expired() { ending 0; }
                # As late as can be: the longer it is away, the more rarely it is looked for.
                settled ending 6; ended $ca
                settled expired; echo "expired"
                authority --leaf-ttl 10s --intermediate-ttl 60s --root-ttl 6m
                settled eval '! expired' && echo "renewed"
                settled eval 'grep -o "Node renewed after expiry" ca.log | head -1 | grep .'
                settled eval 'ca status --format json | grep -o "\\"acknowledgedSequence\\" : 1"'
                grep -c 'Node attested' ca.log
                ended $proxy; echo "exit $?"; ended $ca
                """)
        #expect(
            output == """
                expired
                renewed
                Node renewed after expiry
                "acknowledgedSequence" : 1
                1
                exit 0

                """)
    }
}
