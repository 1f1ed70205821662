import Glibc
import Testing

/// Two running authorities, and curl.
@Suite(
    "Authorities publish and follow bundles over HTTPS",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct FederationCommandTests {
    @Test("each keeps the other's bundle, one by the other's SVID and one by a certificate of the Web's kind")
    func mutual() throws {
        let output = try AuthorityPlay.output(
            of: """
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout web.key -out web.pem -days 2 \\
                    -subj /CN=web -addext subjectAltName=DNS:localhost 2>/dev/null
                sed 's/td.test/west.test/' mesh.yaml >west.yaml
                $culvert ca serve --data west --mesh west.yaml --listen 127.0.0.1:16012 --attest-listen 127.0.0.1:16011 \\
                    --admin-socket west.sock --federation-listen 127.0.0.1:16443 \\
                    --federate td.test=https://localhost:15443/,roots=web.pem 2>west.log &
                west=$!
                settled test -s west/bundle.pem
                federate=west.test=https://127.0.0.1:16443/,id=spiffe://west.test/culvert/authority,bundle=west/bundle.pem
                authority --federation-listen 127.0.0.1:15443 --federation-cert web.pem --federation-key web.key \\
                    --federate $federate
                settled test -s data/federated.json && settled test -s west/federated.json
                stat -c '%a %n' data/federated.json
                ca status | sed -n '/^FEDERATED/,/^$/p' | sed 's/[0-9]*s ago/<span> ago/' | tr -s ' '
                python3 - <<END
                import json, subprocess
                for sock, own, other in ("ca.sock", "data", "west"), ("west.sock", "west", "data"):
                    bundle = subprocess.check_output(
                        ["$culvert", "ca", "bundle", "--format", "spiffe", "--admin-socket", sock], text=True)
                    kept = json.load(open(other + "/federated.json"))["trust_domains"]
                    print(list(kept), list(kept.values())[0]["keys"] == json.loads(bundle)["keys"])
                END
                curl -s --cacert web.pem -D head -o body https://localhost:15443/
                tr -d '\\r' <head | grep -iE '^(HTTP|content-type)'
                python3 -c 'import json; b = json.load(open("body")); print(sorted(b), [k["use"] for k in b["keys"]], "kid" in b["keys"][0])'
                asked() { curl -s --cacert web.pem -o /dev/null -w '%{http_code}\\n' "$@"; }
                asked -X POST https://localhost:15443/
                asked -I https://localhost:15443/
                asked https://localhost:15443/other
                asked --tls-max 1.1 https://localhost:15443/
                curl -s https://localhost:15443/; echo "curl without roots: $?"
                ended $west; echo "west $?"
                ended $ca; echo "east $?"
                authority --federate $federate
                settled grep -o 'last good one stays in use' ca.log
                ca status | sed -n '/^FEDERATED/,/^$/p' | sed 's/for [0-9]*s: .*/for <span>/' | tr -s ' '
                ca status --format json | python3 -c 'import json, sys; f = json.load(sys.stdin)["federated"][0]
                print(f["trustDomain"], f["bundleSequence"], f["url"], "fetchedAt" in f, "problem" in f, "failingSince" in f)'
                ended $ca; echo "east $?"
                """)
        #expect(
            output == """
                644 data/federated.json
                FEDERATED DOMAIN BUNDLE AUTHORITIES FETCHED URL
                west.test 1 1 <span> ago https://127.0.0.1:16443/

                ['td.test'] True
                ['west.test'] True
                HTTP/1.1 200 OK
                content-type: application/json
                ['keys', 'spiffe_refresh_hint', 'spiffe_sequence'] ['x509-svid'] False
                405
                200
                404
                000
                curl without roots: 60
                west 0
                east 0
                last good one stays in use
                FEDERATED DOMAIN BUNDLE AUTHORITIES FETCHED URL
                west.test 1 1 not since the start https://127.0.0.1:16443/
                 west.test fails for <span>

                west.test 1 https://127.0.0.1:16443/ False True True
                east 0

                """)
    }
}
