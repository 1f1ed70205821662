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

                """)
    }
}

@Suite(
    "culvert ca export and import", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .timeLimit(.minutes(3)))
struct BackupCommandTests {
    @Test("move a running authority to another directory, and change nothing when they cannot")
    func moves() throws {
        let output = try AuthorityPlay.output(
            of: """
                echo 'correct horse battery' >passphrase; echo 'another passphrase' >wrong; echo short >short
                authority
                $culvert ca export --data data --output backup --passphrase-file passphrase 2>said; echo "export $?"
                sed 's/ at .*//' said
                stat -c '%a' backup
                ca status >/dev/null && echo running
                $culvert ca export --data data --output backup --passphrase-file passphrase; echo "again $?"
                $culvert ca export --data data --output other --passphrase-file short; echo "short $?"
                $culvert ca export --data nowhere --output other --passphrase-file passphrase; echo "nowhere $?"
                $culvert ca import backup --data data --passphrase-file wrong; echo "wrong $?"
                head -c 40 backup >torn; $culvert ca import torn --check --passphrase-file passphrase; echo "torn $?"
                $culvert ca import mesh.yaml --check --passphrase-file passphrase; echo "none $?"
                ended $ca
                $culvert ca import backup --data moved --passphrase-file passphrase | sed 's/ at .*//'
                ls -A moved | tr '\\n' ' '; echo
                before=$(cat data/bundle.pem); rm -r data; mv moved data
                authority
                [ "$(cat data/bundle.pem)" = "$before" ] && echo same
                ended $ca
                """)
        #expect(
            output == """
                export 0
                Trust domain td.test, bundle 1, 2 authorities, 0 nodes,
                600
                running
                error: backup exists
                hint: move it away first, or give another --output
                again 1
                error: the passphrase has fewer than 12 bytes
                hint: several random words are good ones
                short 1
                error: nowhere holds no authority
                nowhere 1
                error: the backup does not open: the passphrase is wrong, or the file is damaged or cut off
                hint: compare the file's size and checksum with those of the original
                wrong 1
                error: the backup is cut off
                hint: compare the file's size and checksum with those of the original
                torn 1
                error: this is not a backup of culvert
                none 1
                Trust domain td.test, bundle 1, 2 authorities, 0 nodes,
                authority.key authority.sqlite \n\
                same

                """)
    }
}
