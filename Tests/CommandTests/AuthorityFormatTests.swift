import Glibc
import Testing
import Yams

@Suite(
    "What culvert ca and culvert node print", .enabled(if: Transcript.binary != nil),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .timeLimit(.minutes(2))
)
struct AuthorityFormatTests {
    /// Every command that answers with a document.
    private static let documents = [
        "ca status", "ca doctor", "ca bundle", "ca rotate --dry-run", "node list", "node show node-a",
        "ca token create --node node-a",
    ]

    @Test("is the same document in JSON and in YAML, whatever it is of; a string is never taken for a number")
    func sameDocument() throws {
        let output = try AuthorityPlay.output(
            of: Self.joined
                + Self.documents.flatMap { command in
                    ["json", "yaml"].map { format in
                        "echo '--- \(command)'; $culvert \(command) --format \(format) --admin-socket ca.sock 2>/dev/null"
                    }
                }.joined(separator: "\n") + "\nended $ca")
        let documents = output.split(separator: "--- ").map { text in
            // What the time has changed between the two.
            String(text.drop { $0 != "\n" }).replacing(#/[0-9a-f]{64}|\d+/#, with: "0")
        }
        try #require(documents.count == 2 * Self.documents.count, "\(output)")
        for (index, command) in Self.documents.enumerated() {
            let (json, yaml) = (documents[2 * index], documents[2 * index + 1])
            #expect(json.hasPrefix("\n{\n") && !yaml.hasPrefix("\n{"), "\(command)")
            let node = try #require(try compose(yaml: json), "\(command)")
            #expect(try compose(yaml: yaml) == node, "\(command): \(yaml)")
            #expect(node["schemaVersion"]?.int == 0, "\(command)")
        }
    }

    @Test("as a person sees it: tables, lines and documents")
    func transcript() throws {
        let output = try AuthorityPlay.output(
            of: Self.joined + """
                run() { echo "\\$ culvert $*"; $culvert "$@" --admin-socket ca.sock 2>&1; echo "exit $?"; }
                run node list
                run node show node-a
                run node list --format yaml
                run ca status --format yaml
                run ca rotate --dry-run --format yaml
                run ca prepare --format yaml
                run ca abort --format json
                run ca token create --node node-b --format yaml
                run ca bundle --format yaml | sed '/pem:/,$d'
                run ca status --format xml
                ended $ca
                """)
        let steady = output.replacing(#/cvt-[0-9a-f]{64}/#, with: "<token>")
            .replacing(#/\b[0-9a-f]{20,32}\b/#, with: "<serial>").replacing(#/─+/#, with: "─")
        try Transcript.check(RotationCommandTests.normalised(steady), named: "ca-formats")
    }

    /// A node that has joined and has gone.
    private static let joined = """
        authority
        ca "token create" --node node-a >token 2>/dev/null
        $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
            --ca-bundle data/bundle.pem --join-token-file token --admin-listen 127.0.0.1 2>proxy.log & proxy=$!
        acknowledged() { ca status --format json | grep -q '"acknowledgedSequence" : 1'; }
        gone() { $culvert node list --admin-socket ca.sock | grep -q away; }
        settled acknowledged
        ended $proxy
        settled gone

        """
}
