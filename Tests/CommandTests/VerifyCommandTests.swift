import FoundationEssentials
import Glibc
import Testing

@Suite("culvert verify: what cannot be answered", .enabled(if: Transcript.binary != nil, "needs the executable"))
struct VerifyCommandTests {
    @Test("exits with 2, and says what is to be done")
    func unanswerable() throws {
        let directory = "/tmp/cvt-verify-\(getpid())"
        try #require(mkdir(directory, 0o700) == 0)
        defer { _ = try? Transcript.run("rm -r \(directory)") }
        let mesh = """
            trustDomain: td.test
            namespaces: [{name: shop}]
            pods:
              - {uid: a, name: a, namespace: shop, node: node-a, addresses: [10.1.0.1]}
              - {uid: b, name: b, namespace: shop, node: node-b, addresses: [10.1.0.2]}

            """
        try mesh.write(toFile: directory + "/mesh.yaml", atomically: false, encoding: .utf8)
        for (arguments, said) in [
            ("--mesh \(directory)/none.yaml --node node-a shop/a shop/b", "none.yaml"),
            ("--mesh \(directory)/mesh.yaml --node node-a shop/a shop/nobody", "the mesh has no pod shop/nobody"),
            ("--mesh \(directory)/mesh.yaml --node node-a shop/a shop/b", "--port"),
            ("--mesh \(directory)/mesh.yaml --node node-c --port 80 shop/a shop/b", "neither pod is on node node-c"),
        ] {
            let text = try Transcript.run("culvert verify \(arguments)")
            #expect(text.hasSuffix("exit 2\n"), "\(text)")
            #expect(text.contains(said) || geteuid() != 0, "\(text)")
        }
    }

    @Test("wrong usage exits with 64")
    func usage() throws {
        for arguments in [
            "", "shop/a shop/b", "--mesh m --node n --port 0 shop/a shop/b", "--mesh m --node n --wrong a b",
        ] {
            let text = try Transcript.run("culvert verify \(arguments)")
            #expect(text.hasSuffix("exit 64\n"), "\(text)")
        }
    }
}
