import Glibc
import IPAddressing
import LinuxNetworking
import Synchronization
import Testing

@testable import CNI

/// The plugin as a container runtime starts it, and an agent that answers as it is told.
@Suite("The CNI plugin as a process", .timeLimit(.minutes(2)))
final class PluginProcessTests {
    private let run: String

    private static let binary: String = {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return own.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/culvert-cni"
    }()

    init() throws {
        var template = Array("/tmp/cvt-cnirun-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        run = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try AgentFiles.makeNotes(run)
    }

    deinit {
        for name in SmallFile.names(run + "/cni") { unlink("\(run)/cni/\(name)") }
        rmdir(run + "/cni")
        for name in SmallFile.names(run) { unlink("\(run)/\(name)") }
        rmdir(run)
    }

    private static let result = "{\"cniVersion\":\"1.0.0\",\"ips\":[ {\"address\":\"10.1.1.2/24\"}],  \"dns\":{}}"

    /// What it prints, and its exit status.
    private func plugin(
        _ command: String, namespace: String = "shop", container: String = "c1", uid: String = "u1",
        netns: String? = "/proc/self/ns/net", more: String = ""
    ) throws -> (text: String, status: Int32) {
        let input = """
            {"cniVersion": "1.1.0", "name": "pods", "type": "culvert-cni", "runDir": "\(run)", \
            "exemptNamespaces": ["kube-system"]\(more), "prevResult": \(Self.result)}
            """
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=\(namespace);K8S_POD_NAME=web;K8S_POD_UID=\(uid)"
        let environment =
            [
                "CNI_COMMAND=\(command)", "CNI_CONTAINERID=\(container)", "CNI_IFNAME=eth0", "CNI_ARGS=\(arguments)",
            ] + (netns.map { ["CNI_NETNS=\($0)"] } ?? [])
        let output = try ChildProcess.run(
            "/usr/bin/env", ["-i"] + environment + [Self.binary], input: input, timeout: .seconds(30))
        return (output.output, output.status)
    }

    private func code(_ text: String) throws -> String? {
        let json = try JSONText(Array(text.utf8))
        return json.root["code"].map(json.text)
    }

    /// Answers each question in turn; the questions it has heard.
    private func withAgent<R>(_ answers: [SandboxAnswer?], _ body: () throws -> R) throws -> (R, [SandboxQuestion]) {
        let listener = try SeqpacketListener(path: AgentFiles.socket(run))
        defer { listener.close() }
        let heard = Heard()
        let thread = try SystemThread(name: "cni-agent") {
            for answer in answers {
                guard let socket = try? listener.accept(deadline: .now + .seconds(60)),
                    let packet = try? socket.receive(deadline: .now + .seconds(10))
                else { return }
                heard.add(SandboxQuestion(bytes: packet.bytes), socket)
                if let answer { try? socket.send(answer.bytes, deadline: .now + .seconds(10)) }
            }
        }
        let result = try body()
        thread.join()
        return (result, heard.questions)
    }

    @Test(
        "ADD returns what the plugin before it has, when the agent says so; the agent finds the pod's namespace noted")
    func add() throws {
        // As most runtimes name it, by a link that the agent's container has not.
        #expect(symlink("cni", run + "/link") == 0)
        let (output, heard) = try withAgent([.ready]) { try plugin("ADD", netns: run + "/link/cni-1") }
        #expect(output.text == Self.result + "\n" && output.status == 0)
        #expect(heard.map(\.kind) == [.add])
        let note = try #require(SandboxNote.read(uid: "u1", in: run + "/cni"))
        #expect(note == heard.first?.sandbox && note.netns == run + "/cni/cni-1" && note.container == "c1")
        #expect(note.addresses.map(\.description) == ["10.1.1.2"])
        let (open, _) = try withAgent([.notEnrolled]) { try plugin("ADD", namespace: "open") }
        #expect(open.text == Self.result + "\n" && open.status == 0)
        let (refused, _) = try withAgent([.refused("no guard")]) { try plugin("ADD") }
        #expect(try refused.status == 1 && code(refused.text) == "11" && refused.text.contains("no guard"))
    }

    @Test("with nobody there: an enrolled namespace's pods wait, others start; nothing known, all wait but the exempt")
    func away() throws {
        for known in [true, false] {
            if known {
                try EnrolledNamespaces(["shop"]).write(AgentFiles.enrolledNamespaces(run))
            } else {
                unlink(AgentFiles.enrolledNamespaces(run))
            }
            let enrolled = try plugin("ADD")
            #expect(try enrolled.status == 1 && code(enrolled.text) == "11")
            let other = try plugin("ADD", namespace: "open")
            #expect(known ? other.status == 0 && other.text == Self.result + "\n" : other.status == 1)
            #expect(try plugin("ADD", namespace: "kube-system").status == 0)
        }
    }

    @Test("an agent that hangs holds it up for a bound, and is taken for one that is away")
    func hanging() throws {
        try EnrolledNamespaces(["shop"]).write(AgentFiles.enrolledNamespaces(run))
        let begin = ContinuousClock.now
        let (output, _) = try withAgent([nil]) { try plugin("ADD") }
        // What the process is given, and what the machine needs to start it.
        #expect(try output.status == 1 && code(output.text) == "11" && output.text.contains("does not answer"))
        #expect(ContinuousClock.now - begin < .seconds(20))
    }

    @Test(
        "DEL succeeds without a namespace, an agent, or a request that can be read; never takes the note of a newer sandbox"
    )
    func delete() throws {
        _ = try withAgent([.ready, .ready]) {
            _ = try plugin("ADD")
            _ = try plugin("ADD", container: "c2")
        }
        for container in ["c1", "c1"] {
            let output = try plugin("DEL", container: container, netns: nil)
            #expect(output.status == 0 && output.text.isEmpty)
            #expect(SandboxNote.read(uid: "u1", in: run + "/cni")?.container == "c2")
        }
        #expect(try plugin("DEL", container: "c2", netns: nil).status == 0)
        #expect(SmallFile.names(run + "/cni").isEmpty)
        #expect(try plugin("DEL", container: "../x", netns: nil).status == 0)
        #expect(try plugin("DEL", more: ", \"runDir\": 1").status == 0)
    }

    @Test("GC keeps the notes of what is there; CHECK and STATUS ask; VERSION says what is understood")
    func others() throws {
        _ = try withAgent([.ready, .ready]) {
            _ = try plugin("ADD")
            _ = try plugin("ADD", container: "c2", uid: "u2")
        }
        let valid = ", \"cni.dev/valid-attachments\": [{\"containerID\": \"c2\", \"ifname\": \"eth0\"}]"
        #expect(try plugin("GC", more: valid).status == 0)
        #expect(SmallFile.names(run + "/cni") == ["u2"])
        let (check, _) = try withAgent([.ready]) { try plugin("CHECK") }
        #expect(check.status == 0 && check.text.isEmpty)
        let (wrong, _) = try withAgent([.refused("missing: rule v4")]) { try plugin("CHECK") }
        #expect(try code(wrong.text) == "11" && wrong.text.contains("rule v4"))
        let (ready, heard) = try withAgent([.ready]) { try plugin("STATUS") }
        #expect(ready.status == 0 && ready.text.isEmpty && heard.map(\.kind) == [.status])
        #expect(try code(try plugin("STATUS").text) == "50")
        let version = try plugin("VERSION")
        #expect(version.text.contains("\"supportedVersions\": [\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"]"))
        #expect(try code(try plugin("NOP").text) == "4")
    }
}

/// What was asked; connections stay open as long as this lives.
private final class Heard: Sendable {
    private let all = Mutex<[(SandboxQuestion?, SeqpacketSocket)]>([])

    func add(_ question: SandboxQuestion?, _ socket: SeqpacketSocket) { all.withLock { $0.append((question, socket)) } }
    var questions: [SandboxQuestion] { all.withLock { $0.compactMap(\.0) } }
}
