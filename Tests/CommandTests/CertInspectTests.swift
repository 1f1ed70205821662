import Testing

/// Runs the built `culvert` as a user does, and compares what it prints with `certs/transcripts`.
///
/// With `CULVERT_RECORD=1` the transcripts are written instead: read the difference before committing it.
@Suite(
    "culvert cert inspect", .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY")
)
struct CertInspectTests {
    @Test(
        "prints what its transcript says",
        arguments: ["text", "short", "json", "yaml", "pem", "verification", "problems", "bundle"])
    func transcript(name: String) throws {
        try Transcript.check(named: name)
    }

    @Test("never prints a private key", arguments: ["text", "short", "json", "yaml", "pem"])
    func privateKey(format: String) throws {
        let file = "svid-with-a-private-key.pem"
        let output = try Transcript.run("culvert cert inspect --bundle --format \(format) \(file)")
        #expect(!output.contains("PRIVATE"))
        // The last line of the key's base64.
        let text = try String(contentsOfFile: Transcript.fixtures + "/" + file)
        let key = try #require(text.split(separator: "\n").dropLast().last)
        #expect(key.utf8.count > 20 && !output.contains(key))
        #expect(output.hasSuffix("exit 0\n"))
    }

    @Test("what certs/offline-root and certs/plugin-intermediate make satisfies the standard and verifies")
    func generated() throws {
        let script = """
            d=$(mktemp -d); ../offline-root --trust-domain td.test --out "$d/root" >/dev/null \\
                && ../plugin-intermediate --root "$d/root" --out "$d/ca" >/dev/null \\
                && ../plugin-intermediate --root "$d/root" --out "$d/next" --key p384 >/dev/null \\
                && culvert cert inspect --bundle --format json --roots "$d/ca/root-cert.pem" "$d/ca/cert-chain.pem" \\
                | grep -cE '"severity" : "(warn|fail)"'
            culvert cert inspect --format short --roots "$d/ca/root-cert.pem" "$d/next/ca-cert.pem" >/dev/null && echo next
            rm -r "$d"
            """
        #expect(try Transcript.run(script) == "0\nnext\nexit 0\n")
    }

    @Test("what --format pem prints can be read again")
    func pemRoundTrip() throws {
        let again =
            "culvert cert inspect --bundle --format pem svid-chain.pem | culvert cert inspect --bundle --format pem -"
        #expect(
            try Transcript.run(again) == Transcript.run("culvert cert inspect --bundle --format pem svid-chain.pem"))
    }
}
