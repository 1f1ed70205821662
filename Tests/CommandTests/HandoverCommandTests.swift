import FoundationEssentials
import Glibc
import NamespaceKit
import Testing

/// The demo's mesh, a proxy of which is replaced while programs connect through it: by the built program, as an operator would.
@Suite(
    "A proxy is upgraded", .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(3))
)
struct HandoverCommandTests {
    /// Visits web from the pod `client` until told to stop; prints how many were served, and what went wrong with how many.
    private static let visitor = """
        import collections, socket, sys, threading
        stop = threading.Event()
        served, failed = [0] * 8, collections.Counter()
        def visit(n):
            while not stop.is_set():
                try:
                    with socket.create_connection(("10.244.2.2", 8080), timeout=10) as s:
                        s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                        answer = b""
                        while piece := s.recv(65536):
                            answer += piece
                    if not answer.startswith(b"HTTP/1.0 200") and not answer.startswith(b"HTTP/1.1 200"):
                        raise OSError("answer %r" % answer[:20])
                    served[n] += 1
                except OSError as error:
                    failed[type(error).__name__] += 1
        threads = [threading.Thread(target=visit, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for line in sys.stdin:
            print(sum(served), sum(failed.values()), dict(failed), flush=True)
        stop.set()
        for thread in threads: thread.join()
        """

    /// `upgrade NODE IP` starts a successor and waits until it serves; $old and $new are the two.
    private static let functions = """
        coproc ip netns exec culvert-demo-pod-client python3 visitor.py
        progress() { echo >&${COPROC[1]}; read -r served failed which <&${COPROC[0]}; }
        serving() {
            progress; local goal=$((served + 100))
            for i in $(seq 200); do progress; [ $served -ge $goal ] && return; sleep 0.05; done
            echo "STUCK: $1"
        }
        await() { for i in $(seq 400); do grep -q "$1" "$2" 2>/dev/null && return; sleep 0.05; done; echo "NEVER: $1"; tail -3 "$2"; }
        # A dead process stays in the table until its parent looks.
        gone() { for i in $(seq 400); do grep -qs '^State:.[^ZX]' /proc/$1/status || return; sleep 0.05; done; echo "STAYS: $1"; }
        declare -A current
        for node in node-a node-b; do current[$node]=$(pgrep -f "culvert proxy run --node $node .*/run/culvert-demo/"); done
        start() {
            local dir=/run/culvert-demo
            old=${current[$1]}
            # The agent gives pods to nobody outside the cgroup that it knows the proxy by.
            local cgroup=$(tr '\\0' '\\n' </proc/$old/cmdline | grep -A1 -x -e --cgroup | tail -1)
            nsenter --net=/run/netns/culvert-demo-$1 $culvert proxy run --node $1 --trust-domain culvert.demo --ca 10.0.0.10:15012 \\
                --ca-bundle $dir/ca/bundle.pem --run-dir $dir/$1 --state-dir $dir/$1-state --admin-listen $2 \\
                --drain-timeout 2s ${cgroup:+--cgroup $cgroup} 2>$3 &
            new=$!
            await '"msg":"Ready"' $3
        }
        """

    private func play(_ script: String) throws -> String {
        let binary = try #require(Transcript.binary)
        let directory = "/tmp/cvt-handover-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        try Self.visitor.write(toFile: "\(directory)/visitor.py", atomically: false, encoding: .utf8)
        let text = """
            cd \(directory); culvert=\(binary)
            $culvert demo --keep >demo.log 2>&1 & demo=$!
            for i in $(seq 600); do grep -qs 'The demo goes on' demo.log && break; sleep 0.1; done
            \(Self.functions)
            \(script)
            exec {COPROC[1]}>&-
            for pid in "${current[@]}"; do kill $pid 2>/dev/null; done
            kill -INT $demo; wait $demo
            """
        try text.write(toFile: "\(directory)/script", atomically: false, encoding: .utf8)
        let host = try TestNetwork(hosts: 1).hosts[0]
        return try host.shell("timeout -k 1 120 bash \(directory)/script 2>&1; rm -rf \(directory)")
    }

    @Test("three times on each side in turn, under load: not one connection fails")
    func gracefully() throws {
        let output = try play(
            """
            for round in 1 2 3; do
                for node in node-b:10.0.0.12 node-a:10.0.0.11; do
                    start ${node%:*} ${node#*:} ${node%:*}-$round.log
                    serving "both of ${node%:*}"
                    kill $old; gone $old
                    current[${node%:*}]=$new
                    serving "${node%:*} of round $round"
                done
            done
            progress; echo "failed $failed $which"
            # The path of the certificates' socket is the predecessor's: nobody tries it meanwhile.
            cat node-?-?.log | grep -c "Certificates not shown"
            """)
        #expect(output == "failed 0 {}\n0\n")
    }

    @Test("and either process may be killed: the other serves")
    func killed() throws {
        let output = try play(
            """
            start node-b 10.0.0.12 first.log
            serving "both"
            kill -9 $new; wait $new 2>/dev/null
            serving "the predecessor again"
            start node-b 10.0.0.12 second.log
            kill -9 $old; gone $old
            current[node-b]=$new
            serving "the successor alone"
            start node-b 10.0.0.12 third.log
            serving "both once more"
            progress; before=$failed
            kill $old; gone $old; current[node-b]=$new
            serving "the last"
            progress; echo "failed $((failed - before)) since the last kill"
            # Eight programs visit, and each of two kills breaks what is open; and what is begun on a tunnel that is not known to
            # be dead yet, a moment later.
            [ $before -le 64 ] && echo "few were broken" || echo "broken: $before $which"
            """)
        #expect(output == "failed 0 since the last kill\nfew were broken\n")
    }
}
