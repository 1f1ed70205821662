import NamespaceKit
import Testing

@Suite("The executable", .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"))
struct ExecutableTests {
    @Test("asks the loader for nothing that only an authority with a database needs")
    func libraries() throws {
        let needed = TestNetwork.shell("readelf -d \(try #require(culvertBinary)) | grep NEEDED")
        #expect(needed.contains("libssl"), "\(needed)")
        for library in ["libpq", "libbpf", "libgssapi", "libldap", "libgnutls"] {
            #expect(!needed.contains(library), "every proxy would have \(library) in its memory: \(needed)")
        }
    }
}
