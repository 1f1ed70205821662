import Glibc
import Testing

/// `culvert ca serve --health-listen`, asked by curl.
@Suite(
    "The authority tells monitoring how it is",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct AuthorityHealthTests {
    @Test("alive, ready, and every metric that is documented, once each")
    func pages() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority --health-listen 127.0.0.1:15013
                settled curl -sf -m 5 -o /dev/null http://127.0.0.1:15013/healthz/live
                for page in healthz/live healthz/ready nothing; do
                    echo "$(curl -s -m 5 -o answer -w '%{http_code}' http://127.0.0.1:15013/$page) $(head -1 answer)"; done
                ca mint spiffe://td.test/x --cert c --key k --reason test 2>/dev/null
                ca mint spiffe://td.test/culvert/x --cert c2 --key k2 --reason test 2>/dev/null
                curl -s -m 5 http://127.0.0.1:15013/metrics >page
                sed -n 's/^# TYPE \\([^ ]*\\) .*/\\1/p' page | sort >names; sort -u names | cmp - names && echo "each once"
                grep -o '`culvert_ca_[a-z_]*`' \(Self.documentation) | tr -d '`' | sort -u | diff - names && echo "as documented"
                grep -e '^culvert_ca_ready' -e '^culvert_ca_signed' -e '^culvert_ca_denied' -e '^culvert_ca_nodes' page
                id=$(ca status --format json | python3 -c 'import json,sys
                print([a["id"] for a in json.load(sys.stdin)["authorities"] if a["kind"] == "root"][0])')
                end=$(grep "^culvert_ca_authority_not_after_seconds{id=\\"$id\\",kind=\\"root\\"" page | sed 's/.* //')
                test "$(date -u -d @$end '+%b %e %H:%M:%S %Y GMT')" = \\
                    "$(openssl x509 -in data/bundle.pem -noout -enddate | sed 's/.*=//')" && echo "the root's end"
                ended $ca; echo "exit $?"
                """)
        #expect(
            output == """
                200 alive
                200 ready
                404\u{20}
                each once
                as documented
                culvert_ca_ready 1
                culvert_ca_nodes 0
                culvert_ca_nodes_lagging 0
                culvert_ca_nodes_banned 0
                culvert_ca_nodes_cloned 0
                culvert_ca_nodes_expired 0
                culvert_ca_signed_total 2
                culvert_ca_denied_total{reason="identity_refused"} 1
                the root's end
                exit 0

                """)
    }

    @Test("an address that is taken is named, and the authority does not start")
    func taken() throws {
        let output = try AuthorityPlay.output(
            of: """
                $culvert ca serve --data data --mesh mesh.yaml --admin-socket ca.sock --listen 127.0.0.1:15012 \\
                    --attest-listen 127.0.0.1:15011 --health-listen 10.9.9.9:15013 2>said; echo "exit $?"
                grep -e '^error' -e '^hint' said
                """)
        #expect(output.hasPrefix("exit 1\nerror: cannot serve health checks on 10.9.9.9:15013: "))
        #expect(output.contains("\nhint: "))
    }

    private static let documentation: String = {
        var parts = Transcript.fixtures.split(separator: "/", omittingEmptySubsequences: false)
        while let last = parts.last, last.isEmpty { parts.removeLast() }
        return parts.dropLast(2).joined(separator: "/") + "/docs/metrics.md"
    }()
}
