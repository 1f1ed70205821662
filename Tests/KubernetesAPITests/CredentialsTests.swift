import Glibc
import Testing

@testable import KubernetesAPI

@Suite("Credentials for a cluster")
struct CredentialsTests {
    /// A directory that is gone when `body` has returned.
    private static func directory<Value>(_ body: (String) throws -> Value) throws -> Value {
        var template = Array("/tmp/culvert-kubeconfig-XXXXXX".utf8CString)
        _ = try #require(mkdtemp(&template))
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? Self.remove(path) }
        return try body(path)
    }

    private static func remove(_ path: String) throws {
        let directory = try #require(opendir(path))
        defer {
            closedir(directory)
            rmdir(path)
        }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { unlink(path + "/" + name) }
        }
    }

    private static func write(_ text: String, _ path: String) throws {
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
    }

    private static let kubeconfig = """
        apiVersion: v1
        kind: Config
        current-context: main
        clusters:
        - name: one
          cluster: {server: "https://[fd00::1]:6443/", certificate-authority: ca.crt, tls-server-name: kubernetes}
        - name: two
          cluster: {server: https://two:6443, certificate-authority-data: Y2E=}
        - name: lax
          cluster: {server: https://lax, insecure-skip-tls-verify: true}
        - name: proxied
          cluster: {server: https://far, proxy-url: http://proxy}
        users:
        - name: certified
          user: {client-certificate-data: Y2VydA==, client-key: /etc/key.pem}
        - name: bearer
          user: {token: abc, tokenFile: token}
        - name: cloud
          user: {exec: {command: aws}}
        - name: half
          user: {client-certificate: a.pem}
        contexts:
        - name: main
          context: {cluster: one, user: certified, namespace: shop}
        - name: second
          context: {cluster: two, user: bearer}
        - name: lax
          context: {cluster: lax}
        - name: proxied
          context: {cluster: proxied}
        - name: cloud
          context: {cluster: one, user: cloud}
        - name: half
          context: {cluster: one, user: half}
        - name: dangling
          context: {cluster: none}
        """

    @Test("a kubeconfig's contexts are read, paths beside the file")
    func contexts() throws {
        try Self.directory { directory in
            let path = directory + "/config"
            try Self.write(Self.kubeconfig, path)
            let main = try ClusterConfiguration.load(kubeconfig: path, environment: [:])
            #expect(main.server == "https://[fd00::1]:6443")
            #expect(main.serverName == "kubernetes")
            #expect(main.authorities == .file(directory + "/ca.crt"))
            #expect(main.clientCertificate == .bytes(Array("cert".utf8)))
            #expect(main.clientKey == .file("/etc/key.pem"))
            #expect(main.namespace == "shop")
            #expect(main.token == nil && main.verifiesServer)
            let second = try ClusterConfiguration.load(kubeconfig: path, context: "second", environment: [:])
            #expect(second.authorities == .bytes(Array("ca".utf8)))
            #expect(second.token == .file(directory + "/token"))
            #expect(second.namespace == "default")
        }
    }

    @Test("what is not to be done is refused with a reason")
    func refusals() throws {
        try Self.directory { directory in
            let path = directory + "/config"
            try Self.write(Self.kubeconfig, path)
            func refusal(_ context: String) -> String {
                do {
                    _ = try ClusterConfiguration.load(kubeconfig: path, context: context, environment: [:])
                    return ""
                } catch { return "\(error)" }
            }
            #expect(refusal("lax").contains("insecure-skip-tls-verify"))
            #expect(refusal("proxied").contains("proxy-url"))
            #expect(refusal("cloud").contains("plugin (exec)"))
            #expect(refusal("half").contains("client-key"))
            #expect(refusal("dangling").contains("names no cluster"))
            #expect(refusal("none").contains("it has: cloud, dangling"))
            let lax = try ClusterConfiguration.load(
                kubeconfig: path, context: "lax", environment: [:], allowsInsecure: true)
            #expect(!lax.verifiesServer)
            try Self.write("- a\n", path)
            #expect(refusal("main").contains("not a kubeconfig"))
            try Self.write("a: [\n", path)
            #expect(!refusal("main").isEmpty)
            try Self.write("", path)
            #expect(refusal("").contains("no current context"))
        }
    }

    @Test("of several kubeconfigs the first that names something has its say")
    func merged() throws {
        try Self.directory { directory in
            try Self.write(
                "current-context: second\nclusters:\n- {name: two, cluster: {server: 'https://first'}}\nusers: null\n",
                directory + "/a")
            try Self.write(Self.kubeconfig, directory + "/b")
            let merged = try ClusterConfiguration.load(
                environment: ["KUBECONFIG": "\(directory)/missing:\(directory)/a:\(directory)/b"])
            #expect(merged.server == "https://first")
            #expect(merged.authorities == nil)
            #expect(merged.token == .file(directory + "/token"))
            #expect(throws: ClusterConfigurationError.self) {
                try ClusterConfiguration.load(environment: ["KUBECONFIG": "\(directory)/missing"])
            }
        }
    }

    @Test("a variable that is empty is none: the next way to a cluster is taken")
    func emptyVariables() throws {
        try Self.directory { directory in
            mkdir(directory + "/.kube", 0o700)
            defer { try? Self.remove(directory + "/.kube") }
            try Self.write(Self.kubeconfig, directory + "/.kube/config")
            let found = try ClusterConfiguration.load(
                environment: [
                    "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "", "HOME": directory,
                ])
            #expect(found.origin.hasSuffix("\(directory)/.kube/config"))
            #expect(throws: ClusterConfigurationError.notInCluster) {
                try ClusterConfiguration.load(environment: ["KUBERNETES_SERVICE_HOST": "", "HOME": ""])
            }
            try Self.write("t1", directory + "/token")
            try Self.write("x", directory + "/ca.crt")
            let pod = try ClusterConfiguration.inCluster(
                environment: [
                    "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": "",
                    "KUBERNETES_SERVICE_PORT": "443",
                ], directory: directory)
            #expect(pod.server == "https://10.0.0.1:443")
        }
    }

    @Test("a pod's service account, with an address of either family", arguments: ["10.0.0.1", "fd00::1"])
    func inCluster(host: String) throws {
        try Self.directory { directory in
            let environment = ["KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"]
            #expect(throws: ClusterConfigurationError.self) {
                try ClusterConfiguration.inCluster(environment: environment, directory: directory)
            }
            try Self.write("t1\n", directory + "/token")
            try Self.write("x", directory + "/ca.crt")
            try Self.write("culvert-system", directory + "/namespace")
            let found = try ClusterConfiguration.inCluster(environment: environment, directory: directory)
            #expect(found.server == (host == "fd00::1" ? "https://[fd00::1]:443" : "https://10.0.0.1:443"))
            #expect(found.namespace == "culvert-system")
            #expect(throws: ClusterConfigurationError.notInCluster) {
                try ClusterConfiguration.inCluster(environment: [:], directory: directory)
            }
        }
    }

    @Test("a replaced token is shown at once, and one that has gone is shown until it is refused")
    func tokenRotation() throws {
        try Self.directory { directory in
            let path = directory + "/token"
            var configuration = ClusterConfiguration(server: "https://a")
            configuration.token = .file(path)
            let credentials = ClusterCredentials(configuration)
            #expect(throws: ClusterConfigurationError.self) { try credentials.token() }
            try Self.write("first\n", path)
            #expect(try credentials.token() == "first")
            // As the kubelet does: another file under the same name.
            try Self.write("second", path + ".new")
            #expect(rename(path + ".new", path) == 0)
            #expect(try credentials.token() == "second")
            #expect(!credentials.forgetToken(), "the same token again is no reason to ask again")
            unlink(path)
            #expect(try credentials.token() == "second")
            for bad in ["", "two\nlines", "a b", "é"] {
                try Self.write(bad, path)
                #expect(try credentials.token() == "second", "what is no token replaces none")
            }
            try Self.write("third", path)
            #expect(credentials.forgetToken())
            #expect(try credentials.token() == "third")
        }
    }

    @Test("addresses of servers in their parts")
    func urls() {
        for text in ["https://[fd00::1]:6443/base", "http://127.0.0.1:80", "https://name", "https://name:1/a/b"] {
            #expect(APIServerURL(text).text == text)
        }
        #expect(APIServerURL("https://[fd00::1]:6443").host == "fd00::1")
        #expect(APIServerURL("https://name:1/a").path == "/a")
    }
}
