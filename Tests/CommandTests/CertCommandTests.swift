import Testing

/// The commands beside `inspect`, as users run them.
@Suite(
    "culvert cert", .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY")
)
struct CertCommandTests {
    @Test(
        "prints what its transcript says",
        arguments: ["fingerprint", "needs-renewal", "lint", "verify", "list", "connect"])
    func transcript(name: String) throws {
        try Transcript.check(named: name)
    }
}
