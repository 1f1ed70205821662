import FoundationEssentials
import RevocationFixtures
import Synchronization
import Testing

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

@Suite("The directory of a plug-in CA") struct PluginDirectoryTests {
    /// A directory that goes away with the test, whatever is in it.
    final class Place: Sendable {
        let path: String
        init() {
            var template = Array("/tmp/culvert-plugin-XXXXXX".utf8CString)
            path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ name: String, _ bytes: [UInt8], mode: mode_t = 0o600) throws {
            try Data(bytes).write(to: .init(filePath: "\(path)/\(name)"))
            chmod("\(path)/\(name)", mode)
        }

        func write(_ files: PluginFiles, in directory: String = "") throws {
            if !directory.isEmpty { mkdir("\(path)/\(directory)", 0o700) }
            for file in [files.certificate, files.key, files.root, files.chain, files.revocations].compactMap(\.self) {
                try write("\(directory)\(file.name)", file.bytes)
            }
        }

        var directory: PluginDirectory { PluginDirectory(path: path) }
    }

    @Test("is read whole, in both spellings, with the revocation lists that may lie there")
    func read() throws {
        let made = try PluginFixture().made()
        let place = Place()
        try place.write(made.files)
        #expect(try place.directory.read() == made.files)
        try place.write("ca-crl.pem", [1, 2])
        #expect(try place.directory.read().revocations == .init(name: "ca-crl.pem", bytes: [1, 2]))
        let other = Place()
        try other.write("tls.crt", [1])
        try other.write("tls.key", [2])
        try other.write("ca.crt", [3])
        try other.write("lists", [4])
        let files = try PluginDirectory(path: other.path, revocations: "\(other.path)/lists").read()
        #expect(files.chain == nil && files.key.bytes == [2] && files.revocations?.bytes == [4])
    }

    @Test("that is incomplete, ambiguous or open to everybody is refused with a line that says so")
    func refused() throws {
        let made = try PluginFixture().made()
        let place = Place()
        func expect(_ line: String, hint: Bool = false) {
            let flaw = #expect(throws: PluginFlaw.self) { try place.directory.read() }
            let text = flaw.map { "\($0)" } ?? "accepted"
            #expect(text.contains(line), "\(text)")
            #expect(!hint || flaw?.hint != nil)
        }
        expect("holds no plug-in CA", hint: true)
        for (name, left) in [("ca-cert.pem", 3), ("ca-key.pem", 2), ("root-cert.pem", 1)] {
            try place.write(name, made.files.certificate.bytes)
            expect(
                left == 1
                    ? "cert-chain.pem of ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem is missing"
                    : "are missing", hint: true)
        }
        try place.write(made.files)
        try place.write("tls.crt", [1])
        expect("both ca-cert.pem and tls.crt")
        unlink("\(place.path)/tls.crt")
        chmod("\(place.path)/ca-key.pem", 0o644)
        expect("ca-key.pem can be read by everybody", hint: true)
        chmod("\(place.path)/ca-key.pem", 0o440)
        _ = try place.directory.read()
        try place.write("root-cert.pem", Array(repeating: 0x20, count: PluginFiles.bytesMax + 1))
        expect("root-cert.pem has 1048577 bytes")
        unlink("\(place.path)/root-cert.pem")
        mkfifo("\(place.path)/root-cert.pem", 0o600)
        expect("root-cert.pem cannot be read: not a regular file")
        let absent = PluginDirectory(path: "\(place.path)/absent")
        #expect(throws: PluginFlaw.unreadable(absent.path, reason: "No such file or directory")) { try absent.read() }
    }

    @Test("in Kubernetes is of one moment: its files come from where ..data points")
    func kubernetes() throws {
        let (first, second) = (try PluginFixture().made(), try PluginFixture().made())
        let place = Place()
        try place.write(first.files, in: "..1/")
        try place.write(second.files, in: "..2/")
        symlink("..1", "\(place.path)/..data")
        for name in PluginFiles.Spelling.istio.required { symlink("..data/\(name)", "\(place.path)/\(name)") }
        #expect(try place.directory.read() == first.files)
        symlink("..2", "\(place.path)/..tmp")
        rename("\(place.path)/..tmp", "\(place.path)/..data")
        #expect(try place.directory.read() == second.files)
    }

    @Test("is looked at when it has been still from one look to the next, and once")
    func debounce() {
        var debounce = PluginDebounce(examined: 0)
        let looks = [0, 1, 1, 2, 3, 3, 3, 0, 0, 0].map { stamp in
            let isDue = debounce.look(stamp)
            if isDue { debounce.didExamine(stamp) }
            return isDue
        }
        #expect(looks == [false, false, true, false, false, true, false, false, true, false])
    }

    @Test(
        "hands over each new set once, whole, however its files are put in place, and says once what is wrong with one")
    func watch() async throws {
        let (first, second, third) = (
            try PluginFixture().made(), try PluginFixture().made(), try PluginFixture().made()
        )
        let place = Place()
        try place.write(first.files)
        let (results, continuation) = AsyncStream<Result<PluginFiles, PluginFlaw>>.makeStream()
        let watcher = PluginWatcher(place.directory, interval: .milliseconds(20))
        let task = Task { await watcher.run(after: first.files) { continuation.yield($0) } }
        defer { task.cancel() }
        var handed = results.makeAsyncIterator()
        for file in [second.files.certificate, second.files.key, second.files.root, second.files.chain!] {
            try place.write("\(file.name).new", file.bytes)
            rename("\(place.path)/\(file.name).new", "\(place.path)/\(file.name)")
        }
        var result = try #require(await handed.next())
        // On a slow machine a look may have fallen in between: that is a set, too, which would be refused.
        while result != .success(second.files) { result = try #require(await handed.next()) }
        unlink("\(place.path)/cert-chain.pem")
        #expect(
            await handed.next()
                == .failure(.missing(["cert-chain.pem"], of: PluginFiles.Spelling.istio.required)))
        try place.write(third.files)
        result = try #require(await handed.next())
        while result != .success(third.files) { result = try #require(await handed.next()) }
    }
}
