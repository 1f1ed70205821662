import DatabaseKit
import Glibc
import Testing

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

    @Test("move an authority from a database to another one, to a file, and from a file to a database")
    func databases() throws {
        let (first, second) = (try TestDatabase(), try TestDatabase())
        let output = try AuthorityPlay.output(
            of: """
                one='\(first.url)' two='\(second.url)'; echo 'correct horse battery' >passphrase
                export() { $culvert ca export --passphrase-file passphrase "$@" 2>said; echo "export $?"; sed 's/ at .*//' said; }
                import() { $culvert ca import --passphrase-file passphrase "$@" >said; echo "import $?"; sed 's/ at .*//' said; }
                export --data data --store "$one" --output none
                authority --store "$one"
                before=$(cat data/bundle.pem)
                export --data data --store "$one" --output backup
                import backup --data data --store "$one"
                ended $ca
                import backup --data two --store "$two"
                ls -A two
                authority --data two --store "$two"; [ "$(cat two/bundle.pem)" = "$before" ] && echo same; ended $ca
                import backup --data file
                authority --data file; [ "$(cat file/bundle.pem)" = "$before" ] && echo same; ended $ca
                $culvert ca import backup --check --passphrase-file passphrase --format json | grep -v madeAt
                """)
        #expect(
            output.replacing("\(first.address)", with: "ONE") == """
                export 1
                error: cannot open ONE: it has no tables of culvert
                export 0
                Trust domain td.test, bundle 1, 2 authorities, 0 nodes,
                error: ONE holds an authority already: nothing was changed
                hint: give an empty database, or drop its schema culvert first
                import 1
                import 0
                Trust domain td.test, bundle 1, 2 authorities, 0 nodes,
                authority.key
                same
                import 0
                Trust domain td.test, bundle 1, 2 authorities, 0 nodes,
                same
                {
                  "authorities" : 2,
                  "bundleSequence" : 1,
                  "nodes" : 0,
                  "schemaVersion" : 1,
                  "trustDomain" : "td.test"
                }

                """)
    }

    @Test("of an authority with a plug-in CA fill no database, where several would share it")
    func pluggedIn() throws {
        let database = try TestDatabase()
        let output = try AuthorityPlay.output(
            of: """
                certs=\(Transcript.fixtures)/..; echo 'correct horse battery' >passphrase
                $certs/offline-root --trust-domain td.test --out root >/dev/null
                $certs/plugin-intermediate --root root --out cacerts >/dev/null
                authority --ca-dir cacerts; ended $ca
                $culvert ca export --data data --output backup --passphrase-file passphrase 2>/dev/null; echo "export $?"
                mkdir new
                $culvert ca import backup --data new --store '\(database.url)' --passphrase-file passphrase; echo "import $?"
                ls -A new
                authority --data new --store '\(database.url)'; ca status | grep '^Bundle'; ended $ca
                """)
        #expect(
            output == """
                export 0
                error: the backup is of an authority with a plug-in CA, which does not go with --store
                hint: import it into a --data directory of its own, without --store (docs/replicas.md)
                import 1
                Bundle sequence  1

                """)
    }

    @Test(
        "an older copy that is put back is told by the first node that has seen more, and takes no step until that is mended"
    )
    func olderCopy() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority
                ca "token create" --node node-a >token 2>/dev/null; cp data/bundle.pem .
                $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                    --ca-bundle bundle.pem --join-token-file token --admin-listen 127.0.0.1 2>proxy.log & proxy=$!
                has() { ca status --format json | grep -q '"acknowledgedSequence" : '$1; }
                settled has 1
                ended $ca; cp -a data older
                authority; ca prepare; settled has 2
                ended $ca; rm -r data; mv older data
                authority
                settled eval 'ca status | grep ^warning'
                grep -c 'the data directory is an old copy' ca.log | sed 's/[1-9].*/logged/'
                ca prepare; echo "prepare $?"
                ca rotate --emergency --reason 'a tape is lost' --no-wait; echo "rotate $?"
                ca status --format json | grep -c '"state" : "prepared"'
                $culvert node evict node-a --reason 'joins anew' --admin-socket ca.sock
                ca status | grep -c ^warning
                ca prepare | sed 's/authority [0-9a-f]*/authority/'
                ended $proxy; ended $ca
                """)
        let refusal = """
            node node-a has bundle 2, this authority is at 1: the store is an older copy
            """
        let hint = """
            restore the newest backup, or evict the nodes that are ahead and let them join anew with an empty --state-dir
            """
        let expected = """
            authority is prepared, and in bundle 2
            warning: \(refusal); \(hint)
            logged
            error: \(refusal)
            hint: \(hint)
            prepare 3
            error: \(refusal)
            hint: \(hint)
            rotate 3
            0
            Node node-a evicted.
            0
            authority is prepared, and in bundle 2

            """
        #expect(output.replacing(#/authority [0-9a-f]{40}/#, with: "authority") == expected, "\(output)")
    }
}
