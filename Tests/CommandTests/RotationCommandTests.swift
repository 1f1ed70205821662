import Glibc
import Testing

/// The commands that change authorities, as an operator sees them.
@Suite(
    "culvert ca", .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2))
)
struct RotationCommandTests {
    /// A node that has joined and has gone: it has acknowledged the first bundle, and no other.
    private static let joined = """
        run() { echo "\\$ culvert $*"; $culvert "$@" --admin-socket ca.sock 2>&1; echo "exit $?"; }
        authority
        $culvert ca token create --node node-a --admin-socket ca.sock >token 2>/dev/null
        $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
            --ca-bundle data/bundle.pem --join-token-file token --admin-listen 127.0.0.1 2>proxy.log & proxy=$!
        for i in $(seq 200); do
            $culvert ca status --format json --admin-socket ca.sock | grep -q '"acknowledgedSequence" : 1' && break; sleep 0.1
        done
        kill $proxy; wait $proxy

        """

    @Test("rotates step by step, says what it waits for, and keeps why it did not")
    func byHand() throws {
        let output = try MeshScript.play(
            Self.joined + """
                run ca status
                run ca taint
                run ca activate
                run ca prepare
                run ca prepare
                run ca activate
                run ca activate --wait --timeout 1s
                run ca activate --force
                run ca activate --force --reason "node-a was sold"
                run ca status
                run ca taint
                run ca revoke
                run ca revoke --force --reason "nobody has its leaves"
                run ca revoke 0000
                run ca abort
                run ca status
                kill $ca
                """)
        try Transcript.check(Self.normalised(output), named: "ca-by-hand")
    }

    @Test("rotates in one go, is followed and resumed, and is given up")
    func rotate() throws {
        let output = try MeshScript.play(
            Self.joined + """
                run ca rotate --dry-run
                run ca rotate --timeout 1s
                run ca status
                run ca rotate
                kill -9 $ca; wait $ca 2>/dev/null; run ca status
                rm ca.sock; authority
                run ca rotate --resume --timeout 1s
                run ca abort
                run ca rotate --resume
                run ca rotate --emergency
                run ca rotate --emergency --reason "a tape is lost" --no-wait
                run ca status
                kill $ca
                """)
        try Transcript.check(Self.normalised(output), named: "ca-rotate")
    }

    /// What differs from run to run: authorities are numbered in the order in which they appear, times and columns are left out.
    static func normalised(_ text: String) -> String {
        var ids: [Substring] = []
        var result = text.replacing(#/[0-9a-f]{40}/#) { match in
            if !ids.contains(match.output) { ids.append(match.output) }
            return "<authority \(ids.firstIndex(of: match.output)! + 1)>"
        }
        result = result.replacing(#/\d+ issued/#, with: "<count> issued")
        result = result.replacing(#/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/#, with: "<time>")
        result = result.replacing(#/\b\d+[dhms]( \d+[hms])?\b/#, with: "<span>")
        return result.replacing(#/  +/#, with: "  ")
    }
}
