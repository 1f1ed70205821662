import DatabaseKit
import Glibc
import Testing

/// `culvert ca serve --check`.
@Suite(
    "The authority's configuration is checked before it starts",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct AuthorityCheckTests {
    private static let check = "$culvert ca serve --check --data data --mesh mesh.yaml --admin-socket ca.sock"

    @Test("before the first start, while it runs, and after; nothing is made or changed by it")
    func well() throws {
        let output = try AuthorityPlay.output(
            of: """
                \(Self.check); echo "exit $?"; ls -d data ca.sock 2>/dev/null
                authority; sum() { cat data/authority.key data/bundle.pem | sha256sum; ls data; }
                sum >before; \(Self.check); echo "exit $?"; sum | diff before - && echo unchanged
                ca status >/dev/null && echo "still serves"
                ended $ca; \(Self.check) --node-grace off --health-listen 127.0.0.1:9; echo "exit $?"
                """)
        #expect(
            output == """
                nothing is wrong
                exit 0
                nothing is wrong
                exit 0
                unchanged
                still serves
                nothing is wrong
                exit 0

                """)
    }

    @Test("names every problem, not only the first")
    func everything() throws {
        let output = try AuthorityPlay.output(
            of: """
                sed -i 's/name: shop/name: shop, labels: {}/; s/node: node-a/nod: node-a/' mesh.yaml
                touch ca.sock; mkdir data; chmod 700 data; echo short >data/authority.key; chmod 600 data/authority.key
                \(Self.check) --listen nonsense --attest-listen 127.0.0.1:1 --health-listen 127.0.0.1:1 --leaf-ttl 5s \\
                    --intermediate-ttl 20s --root-ttl 60s --trust-domain td.test; echo "exit $?"
                """)
        for expected in [
            "error: --listen: “nonsense” is not an address",
            "error: --health-listen and --attest-listen are both 127.0.0.1:1\nhint: each needs a port of its own\n",
            "error: leaf lifetime 5s is outside 10s to 1d\n",
            "error: intermediate lifetime 20s is less than six times the leaf lifetime 5s",
            "error: root lifetime 1m is less than six times the intermediate lifetime 20s",
            "error: mesh.yaml:3:8: expected in a pod the key 'node', got none\n",
            "mesh.yaml:3:43: expected in a pod one of the keys",
            "error: data/authority.key has 6 bytes, not 32\n",
            "error: ca.sock exists and is no socket\n",
            "\n8 problems\nexit 78\n",
        ] {
            #expect(output.contains(expected), "\(expected)")
        }
    }

    @Test("names what is wrong with the store that is there")
    func store() throws {
        let output = try AuthorityPlay.output(
            of: """
                authority; ended $ca
                chmod 644 data/authority.sqlite; \(Self.check); echo "exit $?"; chmod 600 data/authority.sqlite
                sed -i 's/td.test/other.test/' mesh.yaml; \(Self.check); echo "exit $?"; sed -i 's/other.test/td.test/' mesh.yaml
                cp data/authority.key key; head -c 32 /dev/urandom >data/authority.key; \(Self.check); echo "exit $?"
                cp key data/authority.key
                python3 -c 'import sqlite3; d = sqlite3.connect("data/authority.sqlite")
                d.execute("INSERT INTO grdb_migrations VALUES (\\"from the future\\")"); d.commit()'
                \(Self.check); echo "exit $?"
                dd if=/dev/urandom of=data/authority.sqlite bs=1 seek=0 count=200 conv=notrunc 2>/dev/null; rm -f data/*-wal data/*-shm
                \(Self.check); echo "exit $?"
                """)
        for expected in [
            "error: data/authority.sqlite can be read by others than its owner\nhint: chmod 600 data/authority.sqlite\n1 problem\nexit 78\n",
            "error: the data directory belongs to trust domain td.test, not other.test\nhint: pass --trust-domain td.test",
            "hint: restore authority.key and authority.sqlite together from one backup\n",
            "error: data/authority.sqlite was written by a newer culvert\n",
            "error: data/authority.sqlite is damaged: ",
        ] {
            #expect(output.contains(expected), "\(expected)")
        }
        #expect(!output.contains("exit 0"))
    }

    @Test("connects to the database that is the store, and says what is wrong with it")
    func database() throws {
        let database = try TestDatabase()
        let url = "postgresql://culvert@127.0.0.1:1/\(database.name)"
        let output = try AuthorityPlay.output(
            of: """
                store='\(database.url)'
                check() { \(Self.check) "$@"; echo "exit $?"; }
                check --store "$store"
                $culvert ca serve --data data --mesh mesh.yaml --listen 127.0.0.1:15012 --attest-listen 127.0.0.1:15011 \\
                    --admin-socket ca.sock --store "$store" 2>>ca.log & ca=$!
                settled ca status >/dev/null
                check --store "$store"
                mv data/authority.key key; check --store "$store"
                head -c 32 /dev/urandom >data/authority.key; chmod 600 data/authority.key; check --store "$store"
                mv key data/authority.key
                sed -i 's/td.test/other.test/' mesh.yaml; check --store "$store"; sed -i 's/other.test/td.test/' mesh.yaml
                check --store '\(url)'
                check --store "${store/\(database.name)/nowhere}"
                echo no >password; check --store-password-file password
                ended $ca
                """)
        let path = "\(database.address)"
        for expected in [
            "error: data/authority.key is missing, but \(path) has keys that it sealed\nhint: copy it from another replica's",
            "error: the stored private keys cannot be opened: the key file is not the one that sealed them\n",
            "error: the data directory belongs to trust domain td.test, not other.test\n",
            "error: --store: postgresql://127.0.0.1:1/\(database.name) cannot be used: connection to server at",
            "Connection refused",
            "hint: see that the database runs, that it is reached from here, and that it takes this user and password\n",
            "FATAL:  database \"nowhere\" does not exist\n",
            "error: --store-password-file is for --store\n",
        ] {
            #expect(output.contains(expected), "\(expected)\n\(output)")
        }
        #expect(output.hasPrefix("nothing is wrong\nexit 0\nnothing is wrong\nexit 0\n"), "\(output)")
        #expect(output.components("exit 78\n") == 6, "\(output)")
    }

    @Test("says that the password is wrong, that the tables are a newer culvert's, and that there may be none")
    func databaseRefuses() throws {
        let server = try TestDatabaseServer.shared()
        let (newer, poor) = (try TestDatabase(), try TestDatabase())
        try newer.execute(
            """
            CREATE SCHEMA culvert; CREATE TABLE culvert.migrations (identifier TEXT PRIMARY KEY);
            INSERT INTO culvert.migrations VALUES ('99 from the future')
            """)
        let role = "poor_\(poor.name)"
        try poor.execute("CREATE ROLE \(role) LOGIN")
        defer { try? poor.execute("DROP ROLE \(role)") }
        // As in the test's own network: the database's port is not the script's.
        let output = try Transcript.run(
            """
            d=$(mktemp -d); cd $d
            printf 'trustDomain: td.test\nnamespaces: [{name: shop}]\npods: []\n' >mesh.yaml; echo wrong >password
            check() { culvert ca serve --check --data data --mesh mesh.yaml --admin-socket ca.sock "$@"; echo "exit $?"; }
            check --store 'postgresql://culvert@127.0.0.1:\(server.port)/\(newer.name)?sslmode=require' --store-password-file password
            check --store '\(newer.url)'
            check --store '\(poor.url.replacing("culvert@", with: "\(role)@"))'
            rm -r $d
            """)
        for expected in [
            "FATAL:  password authentication failed for user \"culvert\"",
            "error: --store: \(newer.address) was written by a newer culvert\nhint: run the culvert version",
            "has no tables of culvert, and this user may not make them\nhint: GRANT CREATE ON DATABASE",
        ] {
            #expect(output.contains(expected), "\(expected)\n\(output)")
        }
        #expect(output.components("exit 78\n") == 3, "\(output)")
    }

    @Test("an option that does not exist is refused with exit 64, by check and start alike")
    func unknownOption() throws {
        let output = try AuthorityPlay.output(
            of:
                "\(Self.check) --lef-ttl 1h >/dev/null 2>&1; echo $?; $culvert ca serve --lef-ttl 1h >/dev/null 2>&1; echo $?"
        )
        #expect(output == "64\n64\n")
    }
}

extension String {
    /// How often it has `part`.
    fileprivate func components(_ part: String) -> Int { ranges(of: part).count }
}
