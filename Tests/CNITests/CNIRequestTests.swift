import IPAddressing
import Testing

@testable import CNI

@Suite("What a container runtime asks")
struct CNIRequestTests {
    private static let configuration = """
        {"cniVersion": "1.0.0", "name": "pods", "type": "culvert-cni", "runDir": "/run/other", "exemptNamespaces": ["a"],
         "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.7/24"}, {"address": "fd00::7/64"}]}}
        """
    private static let environment = [
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "cnt-1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=0-1",
    ]

    private func request(
        _ change: [String: String?] = [:], _ input: String = configuration
    ) throws -> CNIRequest {
        var environment = Self.environment
        for (name, value) in change { environment[name] = value }
        return try CNIRequest(environment: environment, input: Array(input.utf8))
    }

    @Test("is read from environment and standard input")
    func read() throws {
        let request = try request()
        #expect(request.command == .add && request.version == "1.0.0" && request.container == "cnt-1")
        #expect(request.netns == "/run/netns/x" && request.interface == "eth0")
        #expect(request.pod == .init(namespace: "shop", name: "web-0", uid: "0-1"))
        #expect(request.settings == PluginSettings(runDirectory: "/run/other", exemptNamespaces: ["a"]))
        #expect(request.addresses.map(\.description) == ["10.244.1.7", "fd00::7"])
        #expect(
            String(decoding: try #require(request.previousResult), as: UTF8.self)
                == "{\"cniVersion\": \"1.0.0\", \"ips\": [{\"address\": \"10.244.1.7/24\"}, {\"address\": \"fd00::7/64\"}]}"
        )
        #expect(try self.request(["CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"]).pod?.uid == nil)
        #expect(try self.request(["CNI_ARGS": nil]).pod == nil)
    }

    @Test(
        "and refused with the specification's code",
        arguments: [
            (["CNI_COMMAND": nil], configuration, .invalidEnvironment),
            (["CNI_COMMAND": "NOP"], configuration, .invalidEnvironment),
            (["CNI_CONTAINERID": nil], configuration, .invalidEnvironment),
            (["CNI_CONTAINERID": "../x"], configuration, .invalidEnvironment),
            (["CNI_NETNS": nil], configuration, .invalidEnvironment),
            (["CNI_NETNS": "x"], configuration, .invalidEnvironment),
            (["CNI_IFNAME": "a/b"], configuration, .invalidEnvironment),
            (["CNI_IFNAME": "0123456789abcdef"], configuration, .invalidEnvironment),
            (["CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=../../etc"], configuration, .invalidEnvironment),
            (["CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;K8S_POD_UID=.."], configuration, .invalidEnvironment),
            ([:], "", .undecodable), ([:], "[]", .undecodable),
            ([:], "{\"cniVersion\": \"9.0.0\"}", .incompatibleVersion),
            ([:], "{\"cniVersion\": 1}", .incompatibleVersion),
            ([:], "{\"cniVersion\": \"1.0.0\"}", .invalidConfiguration),
            ([:], "{\"cniVersion\": \"1.0.0\", \"prevResult\": null}", .invalidConfiguration),
            ([:], "{\"cniVersion\": \"1.0.0\", \"runDir\": \"x\", \"prevResult\": {}}", .unsupportedField),
            (["CNI_COMMAND": "GC"], "{\"cniVersion\": \"1.1.0\"}", .invalidConfiguration),
        ] as [([String: String?], String, CNIError.Code)])
    func refused(_ change: [String: String?], _ input: String, _ code: CNIError.Code) {
        let error = #expect(throws: CNIError.self) { _ = try request(change, input) }
        #expect(error?.code == code)
    }

    @Test("errors are what the runtime reads")
    func errors() throws {
        let error = CNIError(.tryAgainLater, "no \"agent\"", details: "line\ntwo")
        let json = try JSONText(Array(error.json(version: "1.0.0").utf8))
        #expect(json.root["cniVersion"]?.string == "1.0.0" && json.root["msg"]?.string == "no \"agent\"")
        #expect(json.text(of: try #require(json.root["code"])) == "11" && json.root["details"]?.string == "line\ntwo")
        #expect(!CNIError(.io, "x").json(version: "1.0.0").contains("details"))
    }

    @Test("questions, answers and notes are the same when read back, and nothing else is read")
    func messages() throws {
        let note = SandboxNote(
            netns: "/run/netns/x", container: "c1", pod: .init(namespace: "shop", name: "web", uid: "0-1"),
            addresses: [try #require(IPAddress("10.0.0.1")), try #require(IPAddress("fd00::1"))])
        #expect(SandboxNote(text: note.text, uid: "0-1") == note)
        #expect(note.text.split(separator: "\n").first == "/run/netns/x")
        for question in [SandboxQuestion(.add, note), SandboxQuestion(.check, note), SandboxQuestion(.status)] {
            #expect(SandboxQuestion(bytes: question.bytes) == question)
            for count in 0..<8 { #expect(SandboxQuestion(bytes: Array(question.bytes.prefix(count))) == nil) }
        }
        let unnamed = SandboxNote(
            netns: "/x", container: "c", pod: .init(namespace: "a", name: "b", uid: nil), addresses: [])
        #expect(SandboxQuestion(bytes: SandboxQuestion(.add, unnamed).bytes)?.sandbox == unnamed)
        #expect(SandboxQuestion(bytes: Array("culvert cni 1\nadd\nuid ../x\n\(note.text)".utf8)) == nil)
        for answer in [SandboxAnswer.ready, .notEnrolled, .refused("why\nso")] {
            #expect(SandboxAnswer(bytes: answer.bytes) == answer)
        }
        #expect(SandboxAnswer(bytes: Array("read".utf8)) == nil)
        let names = EnrolledNamespaces(["b", "a"])
        #expect(EnrolledNamespaces(text: names.text) == names)
        #expect(EnrolledNamespaces(text: EnrolledNamespaces([]).text)?.names == [])
        for count in 0..<names.text.count { #expect(EnrolledNamespaces(text: String(names.text.prefix(count))) == nil) }
    }

    @Test("without an agent: closed for namespaces that are enrolled, or that nobody knows of; open for others")
    func withoutAgent() throws {
        func refusal(_ namespace: String, _ known: EnrolledNamespaces?) -> String? {
            let note = SandboxNote(
                netns: "/x", container: "c", pod: .init(namespace: namespace, name: "web", uid: "u"), addresses: [])
            return CNIPlugin.refusal(of: SandboxQuestion(.add, note), without: .silent, known)?.message
        }
        let known = EnrolledNamespaces(["shop"])
        #expect(refusal("shop", known)?.contains("namespace shop is enrolled") == true)
        #expect(refusal("open", known) == nil)
        #expect(refusal("open", nil)?.contains("not known") == true)
        #expect(CNIPlugin.refusal(of: SandboxQuestion(.status), without: .silent, known) != nil)
    }
}
