import FoundationEssentials
import Glibc
import NamespaceKit
import Testing

/// A shell script beside a running authority, on a host of its own: `authority ARGS…` starts `culvert ca serve`, `ca COMMAND ARGS…` asks
/// it, `settled` waits for what its arguments do.
enum AuthorityPlay {
    private static let functions = """
        cat >mesh.yaml <<END
        trustDomain: td.test
        namespaces: [{name: shop}]
        pods: [{uid: a, name: a, namespace: shop, node: node-a, addresses: [10.1.0.1]}]
        END
        authority() {
            $culvert ca serve --data data --mesh mesh.yaml --listen 127.0.0.1:15012 --attest-listen 127.0.0.1:15011 \\
                --admin-socket ca.sock "$@" 2>>ca.log &
            ca=$!
            settled ca status >/dev/null || cat ca.log
        }
        ca() { local command=$1; shift; $culvert ca $command --admin-socket ca.sock "$@"; }
        settled() { for i in $(seq 1200); do "$@" 2>/dev/null && return 0; sleep 0.05; done; echo "NEVER: $*"; return 1; }
        ended() { kill $1; wait $1; }
        """

    /// Everything that the script printed, standard error too.
    static func output(of script: String) throws -> String {
        let binary = try #require(Transcript.binary)
        let directory = "/tmp/cvt-command-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        let file = "\(directory)/script"
        let text = ["cd \(directory)", "umask 022", "culvert=\(binary)", functions, script].joined(separator: "\n")
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        let host = try TestNetwork(hosts: 1).hosts[0]
        // Whatever the script leaves behind lives in the background of its own session.
        return try host.shell("timeout -k 1 150 bash \(file) 2>&1; rm -rf \(directory)")
    }
}
