import Glibc
import Testing

/// `culvert ca bundle` and `culvert ca mint` against a running authority, read by OpenSSL and by our own `cert verify`.
@Suite(
    "The operator takes what the authority publishes and signs",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct AuthorityMintTests {
    @Test("the bundle as PEM is the published file, and as JWK set and JSON the same authorities")
    func bundle() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority
                ca bundle >pem; cmp pem data/bundle.pem && echo "same file"
                ca bundle --format spiffe >jwks; $culvert cert inspect --format json jwks >inspected
                ca bundle --format json >json
                python3 - <<END
                import json, subprocess
                answer = json.load(open("json"))
                print(answer["schemaVersion"], answer["trustDomain"], answer["sequence"], len(answer["authorities"]))
                print(answer["authorities"][0]["pem"] == open("pem").read())
                print(json.load(open("jwks"))["spiffe_sequence"] == answer["sequence"])
                print(len(json.load(open("inspected"))["entries"]))
                status = json.loads(subprocess.check_output(
                    ["$culvert", "ca", "status", "--format", "json", "--admin-socket", "ca.sock"]))
                print([a["id"] for a in status["authorities"] if a["kind"] == "root"]
                    == [a["id"] for a in answer["authorities"]])
                END
                ended $ca; echo "exit $?"
                """)
        #expect(output == "same file\n1 td.test 1 1\nTrue\nTrue\n1\nTrue\nexit 0\n")
    }

    @Test("a minted SVID verifies under the bundle, its key is the holder's alone, and the audit log says why")
    func mint() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority --log-format json
                ca mint spiffe://td.test/ns/shop/sa/web --cert web.pem --key web.key --ttl 10m --reason 'ticket "4711"' 2>said
                echo "exit $?"; head -1 said; grep -c warning said
                stat -c '%a %n' web.pem web.key
                openssl pkey -in web.key -pubout >a; openssl x509 -in web.pem -noout -pubkey >b; cmp a b && echo "keys fit"
                $culvert cert verify --roots data/bundle.pem web.pem >/dev/null; echo "verify $?"
                $culvert cert lint web.pem >/dev/null; echo "lint $?"
                openssl x509 -in web.pem -noout -checkend 590 >/dev/null && echo "lives 10 minutes"
                openssl x509 -in web.pem -noout -checkend 610 >/dev/null || echo "and no longer"
                serial=$(sed -n 's/^  serial  //p' said)
                python3 - $serial <<END
                import json, sys
                lines = [json.loads(line) for line in open("ca.log") if '"SVID minted"' in line]
                print(len(lines), lines[0]["spiffeID"], lines[0]["serial"] == sys.argv[1], lines[0]["reason"])
                END
                ended $ca
                """)
        #expect(
            output == """
                exit 0
                spiffe://td.test/ns/shop/sa/web
                0
                644 web.pem
                600 web.key
                keys fit
                verify 0
                lint 0
                lives 10 minutes
                and no longer
                1 spiffe://td.test/ns/shop/sa/web True ticket "4711"

                """)
    }

    @Test("a lifetime beyond a pod's is cut, and said so")
    func clamped() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority
                ca mint spiffe://td.test/x --cert c --key k --ttl 2d --reason test 2>&1 | grep -o 'warning: it was asked for until'
                openssl x509 -in c -noout -checkend 3610 >/dev/null || echo "an hour at most"
                ca status --format json | grep -c '"deniedSinceStart" : 0'
                ended $ca
                """)
        #expect(output == "warning: it was asked for until\nan hour at most\n1\n")
    }

    @Test(
        "is refused, and nothing is written",
        arguments: [
            ("spiffe://other.test/x", "spiffe://other.test/x is not of trust domain td.test"),
            ("spiffe://td.test", "spiffe://td.test names the trust domain, not a workload"),
            ("spiffe://td.test/culvert/node/node-a", "is reserved for Culvert itself"),
            ("spiffe://td.test/culvert/authority", "is reserved for Culvert itself"),
            ("spiffe://td.test/culvert", "is reserved for Culvert itself"),
            ("https://td.test/x", "https://td.test/x: "),
        ])
    func refused(id: String, expected: String) throws {
        let output = try AuthorityPlay.output(
            of: """
                authority
                ca mint \(id) --cert c --key k --reason test; [ $? -ne 0 ] && ls c k 2>/dev/null || echo "nothing there"
                ended $ca
                """)
        #expect(output.contains(expected))
        #expect(output.hasSuffix("nothing there\n"))
    }

    @Test("files that exist are kept unless --force says otherwise")
    func overwriting() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority
                echo precious >k
                ca mint spiffe://td.test/x --cert c --key k --reason test; echo "exit $?"; cat k; ls c 2>/dev/null
                ca mint spiffe://td.test/x --cert c --key k --reason test --force 2>/dev/null; echo "exit $?"
                grep -c 'PRIVATE KEY' k; stat -c %a k
                ended $ca
                """)
        #expect(
            output == """
                error: --key: k exists
                hint: name another file, or pass --force to overwrite it
                exit 1
                precious
                exit 0
                2
                600

                """)
    }

    @Test("without a running authority says so, with exit 1")
    func nobody() throws {
        let output = try AuthorityPlay.output(
            of: "ca bundle; echo $?; ca mint spiffe://td.test/x --cert c --key k --reason test; echo $?")
        #expect(output.contains("error: no authority answers on ca.sock: No such file or directory"))
        #expect(output.hasSuffix("1\n"))
    }
}
