import FoundationEssentials
import Glibc
import KubernetesKit
import NamespaceKit
import Testing

/// `culvert status` and the agent's options against an API server.
@Suite("culvert status on a cluster", .timeLimit(.minutes(2)), .enabled(if: Transcript.binary != nil))
struct StatusCommandTests {
    private struct Scene {
        let server: APIServer
        let directory: String

        init() async throws {
            server = try await APIServer.start()
            directory = try TestNetwork.makeDirectory("status")
            try server.create(.nodes, ["metadata": ["name": "node-a"]])
            try server.create(
                .namespaces, ["metadata": ["name": "shop", "labels": ["culvert.dev/mtls-enabled": "true"]]])
            try server.create(.namespaces, ["metadata": ["name": "culvert-system"]])
            try server.kubeconfig().write(toFile: directory + "/kubeconfig", atomically: true, encoding: .utf8)
        }

        /// What is printed, and `exit N`.
        func culvert(_ command: String) throws -> String {
            let binary = try #require(Transcript.binary)
            return TestNetwork.shell(
                """
                cd \(directory) && HOME=\(directory) NO_COLOR=1 timeout 60 \(binary) \(command) 2>&1; echo "exit $?"
                """)
        }

        func end() async {
            await server.stop()
            _ = TestNetwork.shell("rm -rf \(directory)")
        }
    }

    @Test("0 when all is well, 1 when a pod is not enrolled, and why, 2 when there is nobody to ask")
    func codes() async throws {
        let scene = try await Scene()
        let well = try scene.culvert("status --kubeconfig kubeconfig --admin-socket /run/culvert/ca/admin.sock")
        #expect(well.contains("exit 2"), "an authority was named that is not there: \(well)")
        let empty = try scene.culvert("status --kubeconfig kubeconfig")
        #expect(
            empty.contains("all well") && empty.contains("none in enrolled namespaces") && empty.hasSuffix("exit 0\n"),
            "\(empty)")

        try scene.server.create(
            .pods,
            [
                "metadata": ["name": "web", "namespace": "shop"],
                "spec": ["nodeName": "node-a", "containers": [["name": "app", "image": "app"]]],
            ])
        try scene.server.update(.pods, "shop", "web", subresource: "status") { pod in
            pod["status"] = ["phase": "Running", "podIP": "10.0.0.1", "podIPs": [["ip": "10.0.0.1"]]]
        }
        let wrong = try scene.culvert("status --kubeconfig kubeconfig")
        #expect(
            wrong.contains("shop/web") && wrong.contains("no agent runs on node-a") && wrong.hasSuffix("exit 1\n"),
            "\(wrong)")
        let json = try scene.culvert("status --kubeconfig kubeconfig --format json")
        #expect(json.contains("\"isSound\" : false") && json.contains("\"state\" : \"unknown\""), "\(json)")
        let yaml = try scene.culvert("status --kubeconfig kubeconfig --format yaml")
        #expect(yaml.contains("isSound: false"), "\(yaml)")

        await scene.server.stop()
        let away = try scene.culvert("status --kubeconfig kubeconfig")
        #expect(away.contains("cannot be asked") && away.hasSuffix("exit 2\n"), "\(away)")
        await scene.end()
    }

    @Test(
        "an agent that is started as on a node enrols what kubectl labels, says that it is ready, and is seen by culvert status",
        .enabled(
            if: geteuid() == 0 && !TestSandbox.hierarchies.isEmpty && access("/usr/sbin/nft", X_OK) == 0,
            "needs root, nft and cgroups: makes network namespaces"))
    func agent() async throws {
        let scene = try await Scene()
        let network = try TestNetwork(hosts: 1)
        let host = network.hosts[0]
        let pod = try scene.server.create(
            .pods,
            [
                "metadata": ["name": "web", "namespace": "shop"],
                "spec": ["nodeName": "node-a", "containers": [["name": "app", "image": "app"]]],
            ])
        let uid = try #require(pod["metadata"]["uid"].string)
        let sandbox = try TestSandbox(
            in: host.namespace, hierarchy: TestSandbox.hierarchies[0],
            cgroup: "culvert-test-\(getpid())-agent/kubepods/pod\(uid)/pause")
        try scene.server.update(.pods, "shop", "web", subresource: "status") { pod in
            pod["status"] = [
                "phase": "Running", "podIP": .string("\(host.v4)"), "podIPs": [["ip": .string("\(host.v4)")]],
            ]
        }
        let port = try freePort()
        let started = TestNetwork.shell(
            """
            cd \(scene.directory); exec \(try #require(Transcript.binary)) agent run --kubeconfig kubeconfig --node node-a --run-dir run \
            --guard off --backend nft --probes off --health-listen 127.0.0.1:\(port) > log 2>&1 < /dev/null & echo $!
            """)
        let agent = try #require(started.split(separator: "\n").first.map(String.init))
        defer { _ = TestNetwork.shell("kill -9 \(agent) 2>/dev/null") }

        @Sendable func state(_ pod: JSON?) -> String? { pod?["metadata"]["annotations"]["culvert.dev/status"].string }
        let enrolled = await scene.server.wait(for: .pods, "shop", "web", atMost: .seconds(60)) {
            state($0)?.contains("enrolled") == true
        }
        #expect(enrolled, "\(TestNetwork.shell("tail -20 \(scene.directory)/log"))")
        #expect(ask(port, "/healthz/ready").contains("200"))
        #expect(ask(port, "/metrics").contains("culvert_agent_pods{phase=\"enrolled\"} 1"))
        let seen = await scene.server.wait(for: .leases, "default", "culvert-agent.node-a") {
            $0?["metadata"]["annotations"]["culvert.dev/node-status"].string?.contains("\"enrolled\":1") == true
        }
        #expect(seen)
        let status = try scene.culvert("status --kubeconfig kubeconfig --pods")
        #expect(status.contains("shop/web") && status.contains("running"), "\(status)")
        // Nothing is wrong but that there is no proxy.
        #expect(
            status.contains("no proxy is connected: its pods are closed") && status.hasSuffix("exit 1\n"), "\(status)")

        let label = TestNetwork.shell(
            """
            HOME=\(scene.directory) timeout 60 kubectl --kubeconfig \(scene.directory)/kubeconfig label namespace shop \
            culvert.dev/mtls-enabled- 2>&1
            """)
        #expect(label.contains("unlabeled"))
        #expect(await scene.server.wait(for: .pods, "shop", "web") { state($0) == nil })
        #expect(try !host.shell("nft list ruleset").contains("culvert"))
        #expect(
            TestNetwork.shell("kill -TERM \(agent); timeout 60 tail --pid=\(agent) -f /dev/null; echo ended")
                == "ended\n")
        withExtendedLifetime((sandbox, network)) {}
        await scene.end()
    }

    /// The answer's head and body.
    private func ask(_ port: UInt16, _ path: String) -> String {
        TestNetwork.shell(
            """
            timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/\(port); \
            printf "GET \(path) HTTP/1.1\\r\\nHost: node\\r\\nConnection: close\\r\\n\\r\\n" >&3; cat <&3' 2>&1
            """)
    }

    @Test(
        "the agent takes exactly one place to learn of its pods from, and says what is missing",
        arguments: [
            ("--node a", "give one of --kubernetes, --kubeconfig and --mesh"),
            ("--node a --mesh m --kubernetes", "give one of"), ("--node a --mesh m --kubeconfig k", "give one of"),
            ("--node a --kubernetes --exclude-namespace kube-system,,a", "“” is no namespace's name"),
            ("--node a --kubernetes --exclude-namespace Kube-System", "“Kube-System” is no namespace's name"),
            ("--node a --kubernetes --enrolment-label ''", "--enrolment-label is empty"),
            ("--mesh m", "NODE_NAME is not set"), ("--kubernetes", "NODE_NAME is not set"),
            ("--node a --kubernetes --trust-domain UPPER", "is not a trust domain"),
            ("--node a --kubernetes --cluster-cidr ten", "is not a range"),
            ("--node a --kubernetes --health-listen here", "is not an address"),
        ])
    func usage(_ options: String, _ message: String) throws {
        let binary = try #require(Transcript.binary)
        let output = TestNetwork.shell(
            "env -u NODE_NAME timeout 60 \(binary) agent run \(options) 2>&1; echo \"exit $?\"")
        #expect(output.contains(message) && output.hasSuffix("exit 64\n"), "\(output)")
    }
}
