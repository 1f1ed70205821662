import CNI
import Testing

@testable import MeshFile

@Suite("Which UIDs may name files")
struct PodUIDTests {
    @Test(
        "the plug-in, the cluster and the mesh file take the same ones",
        arguments: [
            ("11111111-2222-3333-4444-555555555555", true), ("a", true), ("0", true), ("web-uid", true),
            ("A.b_c-", true),
            (String(repeating: "u", count: 128), true), (String(repeating: "u", count: 129), false), ("", false),
            (".", false), ("..", false), (".hidden", false), ("-rf", false), ("_a", false), ("a/b", false),
            ("/", false),
            ("a b", false), ("a\0", false), ("a\n", false), ("é", false), ("e\u{301}", false), ("ａ", false),
            ("a%", false),
        ])
    func usable(uid: String, isUsable: Bool) {
        #expect(PodUID.isUsable(uid) == isUsable)
        #expect(NameRule.uid.matches(uid) == isUsable)
    }
}
