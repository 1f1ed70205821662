import FoundationEssentials
import Glibc
import NamespaceKit
import Testing

/// Shell scripts with the roles as an operator runs them: `authority` starts one, `proxy` a proxy for two seconds.
enum MeshScript {
    /// Prints what readiness says 2 s after the proxy's start, and then the proxy's warnings, each once.
    private static let proxy = """
        proxy() {
            $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                --ca-bundle ${bundle:-data/bundle.pem} --join-token-file token --admin-listen 127.0.0.1 2>proxy.log &
            pid=$!
            sleep 2
            echo "readiness: $(curl -s -m 2 -o answer -w '%{http_code}' http://127.0.0.1:15021/healthz/ready) $(cat answer)"
            kill $pid; wait $pid
            echo "exit $?"
            cat proxy.log
        }
        """

    private static let authority = """
        authority() {
            $culvert ca serve --data data --mesh mesh.yaml --listen 127.0.0.1:15012 --attest-listen 127.0.0.1:15011 \\
                --admin-socket ca.sock "$@" 2>ca.log &
            ca=$!
            for i in $(seq 100); do [ -S ca.sock ] && [ -s data/bundle.pem ] && return; sleep 0.05; done
            cat ca.log
        }
        """

    private static let mesh = """
        cat >mesh.yaml <<END
        trustDomain: td.test
        namespaces: [{name: shop}]
        pods: [{uid: a, name: a, namespace: shop, node: node-a, addresses: [10.1.0.1]}]
        END
        """

    /// Everything that it printed, on a host of its own in a directory of its own.
    static func play(_ script: String, seconds: Int = 30) throws -> String {
        let binary = try #require(Transcript.binary)
        let directory = "/tmp/cvt-command-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        let file = "\(directory)/script"
        let text = ["cd \(directory)", "culvert=\(binary)", mesh, authority, proxy, script].joined(
            separator: "\n")
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        let host = try TestNetwork(hosts: 1).hosts[0]
        return try host.shell("timeout -k 1 \(seconds) bash \(file) 2>&1; rm -rf \(directory)")
    }
}
