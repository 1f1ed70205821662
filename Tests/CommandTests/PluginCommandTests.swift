import Glibc
import Testing

/// `culvert ca serve --ca-dir` on what `certs/offline-root` and `certs/plugin-intermediate` make.
@Suite(
    "culvert ca with a plug-in CA", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .timeLimit(.minutes(3)))
struct PluginCommandTests {
    private static let functions = """
        certs=\(Transcript.fixtures)/..
        active() { ca status | awk '$1 == "intermediate" && $2 == "active" { print $3 }'; }
        """

    @Test(
        "serves with it, goes on when the next files do not fit, takes them when they do, and publishes its revocation list"
    )
    func serves() throws {
        let output = try AuthorityPlay.output(
            of: Self.functions + """

                $certs/offline-root --trust-domain td.test --out root --key p384 >/dev/null
                $certs/plugin-intermediate --root root --out cacerts >/dev/null
                authority --ca-dir cacerts
                cmp root/root-cert.pem data/bundle.pem && echo published
                ca status | grep -oE '^Plug-in CA  *signs until|^A plug-in CA signs: .*'
                ca prepare; echo "prepare $?"
                first=$(active)
                $certs/plugin-intermediate --root root --out next --key rsa3072 >/dev/null
                cp next/ca-key.pem cacerts/
                settled grep -o 'ca-key.pem is not the key of the certificate in ca-cert.pem' ca.log | head -n 1
                [ "$(active)" = "$first" ] && echo goes on
                cp next/*.pem cacerts/
                changed() { local now; now=$(active) && [ -n "$now" ] && [ "$now" != "$first" ]; }
                settled changed && echo changed
                $certs/revocation-list --ca-cert cacerts/ca-cert.pem --ca-key cacerts/ca-key.pem --out cacerts/ca-crl.pem --revoke 0102
                listed() { ca status | grep -o 'revocation lists: 1, with 1 revoked'; }
                settled listed
                ended $ca
                $culvert ca serve --data data --mesh mesh.yaml --admin-socket ca.sock; echo "without $?"
                """)
        #expect(
            output == """
                published
                Plug-in CA       signs until
                A plug-in CA signs: its files decide what follows it.
                error: a plug-in CA signs here: what follows it is decided by its files
                hint: put the next set of files in the --ca-dir directory; “culvert ca status” shows when it signs
                prepare 3
                ca-key.pem is not the key of the certificate in ca-cert.pem
                goes on
                changed
                cacerts/ca-crl.pem: 1 revoked
                revocation lists: 1, with 1 revoked
                error: the data directory is of an authority with a plug-in CA
                hint: pass --ca-dir with its files
                without 1

                """)
    }

    @Test("does not start on half a set, or on files that others can read")
    func refused() throws {
        let output = try AuthorityPlay.output(
            of: Self.functions + """

                $certs/offline-root --trust-domain other.test --out root >/dev/null
                $certs/plugin-intermediate --root root --out cacerts >/dev/null
                serve() { $culvert ca serve --data data --mesh mesh.yaml --admin-socket ca.sock --ca-dir cacerts; echo "exit $?"; }
                serve
                chmod 644 cacerts/ca-key.pem
                serve
                rm cacerts/cert-chain.pem
                serve
                $culvert ca serve --data data --mesh mesh.yaml --ca-dir cacerts --store postgresql://db/culvert 2>&1 | head -n 1
                """)
        #expect(
            output == """
                error: the plug-in CA is refused: ca-cert.pem is of spiffe://other.test, not of trust domain td.test
                exit 1
                error: --ca-dir cacerts: ca-key.pem can be read by everybody
                hint: chmod 600 ca-key.pem, or defaultMode: 0440 for a volume of a Kubernetes secret
                exit 1
                error: --ca-dir cacerts: cert-chain.pem of ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem is missing
                hint: certs/plugin-intermediate makes a complete set; certs/README.md says what each file is
                exit 1
                Error: --ca-dir does not go with --store: replicas get new files at different times, and would publish different \
                bundles under one number. Run one authority with --ca-dir and its own --data directory, or several with --store and \
                a root that they make (docs/replicas.md)

                """)
    }
}
