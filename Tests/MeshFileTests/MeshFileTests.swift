import Glibc
import IPAddressing
import SPIFFE
import SeededRandom
import Testing

@testable import MeshFile

@Suite("Mesh file")
struct MeshFileTests {
    @Test("reads every field, with its defaults")
    func fields() throws {
        let mesh = try MeshFile.parse(text: MeshFileErrorTests.valid, name: "mesh.yaml")
        #expect(mesh.trustDomain.name == "culvert.demo")
        #expect(mesh.enrolmentLabel == "culvert.dev/mtls-enabled")
        #expect(mesh.namespaces.map(\.name) == ["shop"])
        #expect(mesh.namespaces[0].labels == ["culvert.dev/mtls-enabled": "true"])
        let web = mesh.pods[0]
        #expect(web.uid == "6f1c")
        #expect(web.addresses.map(\.description) == ["10.244.1.2", "fd00:10:244:1::2"])
        #expect(web.netns == "/run/netns/pod-web")
        #expect(web.identity.description == "spiffe://culvert.demo/ns/shop/sa/web")
        let db = mesh.pods[1]
        #expect(db.serviceAccount == "default")
        #expect(db.netns == nil)
        #expect(db.labels.isEmpty)
        let service = mesh.services[0]
        #expect(service.hostname == "web.shop.svc.cluster.local")
        #expect(service.ports == [.init(port: 80, targetPort: 8080)])
        #expect(service.pods == ["web-1"])
    }

    @Test("takes a mesh that has a trust domain only")
    func least() throws {
        let mesh = try MeshFile.parse(text: "trustDomain: a\nenrolmentLabel: io.cilium/mtls-enabled", name: "mesh.yaml")
        #expect(mesh.enrolmentLabel == "io.cilium/mtls-enabled")
        #expect(mesh.pods.isEmpty)
    }

    @Test("leaves ports to their service when no target is named")
    func targetPort() throws {
        let text = MeshFileErrorTests.valid.replacing(", targetPort: 8080", with: "")
        #expect(
            try MeshFile.parse(text: text, name: "mesh.yaml").services[0].ports == [.init(port: 80, targetPort: 80)])
    }

    @Test("reads yes, no and dotted quads as strings")
    func strings() throws {
        let text = MeshFileErrorTests.valid.replacing("serviceAccount: web", with: "serviceAccount: no")
        #expect(try MeshFile.parse(text: text, name: "mesh.yaml").pods[0].serviceAccount == "no")
    }

    @Test("names a file that cannot be read, and why")
    func unreadable() throws {
        let missing = try #require(throws: MeshFileError.self) { try MeshFile.load(path: "/nonexistent/mesh.yaml") }
        #expect(
            missing.description
                == "/nonexistent/mesh.yaml: expected a readable file, got: No such file or directory")
        let directory = try #require(throws: MeshFileError.self) { try MeshFile.load(path: "/") }
        #expect(directory.description == "/: expected a regular file, got a directory or device")
        let device = try #require(throws: MeshFileError.self) { try MeshFile.load(path: "/dev/zero") }
        #expect(device.description == "/dev/zero: expected a regular file, got a directory or device")
    }

    @Test("refuses bytes that are not UTF-8, and a file too large")
    func bytes() throws {
        let file = try TemporaryFile()
        file.write([0x61, 0xff])
        let error = try #require(throws: MeshFileError.self) { try MeshFile.load(path: file.path) }
        #expect(error.description == "\(file.path): expected UTF-8 text, got other bytes")
        #expect(truncate(file.path, MeshFile.bytesMax + 1) == 0)
        let large = try #require(throws: MeshFileError.self) { try MeshFile.load(path: file.path) }
        #expect(large.description == "\(file.path): expected at most 16777216 bytes, got 16777217")
    }

    @Test("never crashes on a damaged file: every prefix, and 3000 random edits")
    func fuzz() {
        let valid = Array(MeshFileErrorTests.valid.utf8)
        for count in valid.indices {
            _ = try? MeshFile.parse(text: String(decoding: valid[..<count], as: UTF8.self), name: "mesh.yaml")
        }
        var random = SeededGenerator(seed: 2)
        let alphabet = Array("-:?[]{}&*!|>'\"%@`,# \n\t\\0aé~".utf8)
        for _ in 0..<3000 {
            var bytes = valid
            for _ in 0...Int.random(in: 0..<4, using: &random) {
                let index = Int.random(in: bytes.indices, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = alphabet.randomElement(using: &random) ?? 0
                case 1: bytes.remove(at: index)
                default: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: index)
                }
            }
            do throws(MeshFileError) {
                let text = String(decoding: bytes, as: UTF8.self)
                let mesh = try MeshFile.parse(text: text, name: "mesh.yaml")
                #expect(Set(mesh.pods.map(\.uid)).count == mesh.pods.count)
            } catch {
                #expect(!error.problems.isEmpty)
                #expect(error.problems.count <= MeshFileError.problemsMax)
            }
        }
    }
}

/// A file of its own directory, both removed at the end.
final class TemporaryFile: Sendable {
    let path: String
    private let directory: String

    init() throws {
        var template = Array("/tmp/culvert-meshfile-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
        directory = String(cString: try #require(made))
        path = directory + "/mesh.yaml"
    }

    deinit {
        unlink(path)
        unlink(path + ".new")
        rmdir(directory)
    }

    func write(_ bytes: some Sequence<UInt8>, to suffix: String = "") {
        guard let file = fopen(path + suffix, "w") else { return }
        let bytes = Array(bytes)
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    /// As an editor that writes a new file and renames it does.
    func replace(_ text: String) {
        write(text.utf8, to: ".new")
        rename(path + ".new", path)
    }
}
