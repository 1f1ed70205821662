import FoundationEssentials
import GRDB
import SPIFFE
import Testing

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A store that is damaged or held by somebody else, and a clock that jumps") struct StoreDamageTests {
    private func overwrite(_ path: String, at offset: Int, _ bytes: [UInt8]) throws {
        let descriptor = open(path, O_WRONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try #require(
            bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset)) } == bytes.count)
    }

    /// The directory of an authority that has ended, everything in one file.
    private func ended() async throws -> (TemporaryDirectory, String) {
        let directory = TemporaryDirectory()
        let fixture = try await AuthorityFixture(directory: directory)
        _ = try await fixture.webSVID()
        try fixture.store.execute(onEveryConnection: "PRAGMA wal_checkpoint(TRUNCATE)")
        return (directory, "\(directory.path)/authority.sqlite")
    }

    @Test("at start is an error that names the file and says what to do, wherever it is damaged")
    func atStart() async throws {
        for (offset, bytes) in [(0, Array("not a database at all".utf8)), (100, [UInt8](repeating: 0xff, count: 8192))]
        {
            let (directory, path) = try await ended()
            try overwrite(path, at: offset, bytes)
            let error = await #expect(throws: StoreError.self) { try await AuthorityFixture(directory: directory) }
            guard case .corrupted(path, _)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(error?.hint?.contains("from a backup") == true)
        }
    }

    @Test("cut off at any page is refused, not begun anew")
    func cutOff() async throws {
        let (directory, path) = try await ended()
        let whole = try #require(FileManager.default.contents(atPath: path))
        for pages in stride(from: 1, to: whole.count / 4096, by: 3) {
            truncate(path, 0)
            try overwrite(path, at: 0, Array(whole.prefix(pages * 4096)))
            await #expect(throws: StoreError.self) { try await AuthorityFixture(directory: directory) }
        }
        truncate(path, 0)
        try overwrite(path, at: 0, Array(whole))
        _ = try await AuthorityFixture(directory: directory)
    }

    @Test("while running makes it issue nothing and say so; its bundle and its nodes stay")
    func whileRunning() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        try fixture.store.execute(onEveryConnection: "PRAGMA wal_checkpoint(TRUNCATE)")
        let path = "\(fixture.directory.path)/authority.sqlite"
        let size = try #require(FileManager.default.contents(atPath: path)).count
        // Every page but the first: nothing can be found any more.
        try overwrite(path, at: 4096, [UInt8](repeating: 0xff, count: size - 4096))
        try fixture.store.execute(onEveryConnection: "PRAGMA shrink_memory")
        let denial = await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        #expect((denial.map { "\($0)" } ?? "issued").contains("\(path) is damaged"))
        #expect(fixture.authority.bundle.current.authorities.count == 1)
        #expect(fixture.authority.status().nodes.count == 1)
    }

    @Test("locked by another process makes issuing wait, then say so, and go on when it is free")
    func locked() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let other = try DatabaseQueue(
            path: "\(fixture.directory.path)/authority.sqlite", configuration: configuration)
        try other.inDatabase { try $0.execute(sql: "BEGIN IMMEDIATE") }
        await #expect(
            throws: Denial.notReady("\(fixture.directory.path)/authority.sqlite is locked by another process")
        ) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        try other.inDatabase { try $0.execute(sql: "ROLLBACK") }
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("a clock that is set back refuses to sign and says why; set right, it signs as before")
    func clockBack() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let before = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        fixture.clock.advance(.seconds(-3600))
        let denial = await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        #expect((denial.map { "\($0)" } ?? "issued").contains("its intermediate is valid from"))
        #expect(fixture.authority.bundle.current.sequence == 1)
        fixture.clock.advance(.seconds(3600))
        let after = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(after.certificates[1] == before.certificates[1])
    }

    @Test("a clock that is far ahead for a while costs no root: set right, leaves under the same one are issued")
    func clockAhead() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let root = fixture.root
        fixture.clock.advance(.seconds(400 * 86_400))
        try? await fixture.authority.maintain()
        await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        fixture.clock.advance(.seconds(-400 * 86_400))
        try? await fixture.authority.maintain()
        let svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        let verifier = PeerVerifier(bundles: fixture.bundles)
        guard
            case .verified = verifier.verify(
                chainDER: svid.certificates.map { $0.der() }, role: .client, now: fixture.clock.now)
        else {
            Issue.record("what is issued does not verify")
            return
        }
        #expect(fixture.root == root)
    }
}
