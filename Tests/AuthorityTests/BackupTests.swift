import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A backup") struct BackupTests {
    private static let passphrase = Array("correct horse battery".utf8)

    @Test("of a running authority makes one that signs with the same keys, for the same nodes")
    func roundTrip() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let backup = try await AuthorityBackup.copy(of: fixture.directory.path, now: fixture.clock.now)
        #expect(backup.summary.trustDomain == "culvert.test" && backup.summary.nodes == 1)
        let sealed = try SealedBackup.seal(try backup.content(), passphrase: Self.passphrase)
        let opened = try AuthorityBackup(content: SealedBackup.open(sealed, passphrase: Self.passphrase))
        #expect(opened == backup)
        // The running one goes on.
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        let home = TemporaryDirectory()
        try await opened.restore(to: home.path)
        let restored = try await AuthorityFixture(directory: home, clock: fixture.clock)
        #expect(restored.authority.bundle.current == fixture.authority.bundle.current)
        let svid = try await restored.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        let verdict = PeerVerifier(bundles: fixture.bundles).verify(
            chainDER: svid.certificates.map { $0.der() }, role: .client, now: fixture.clock.now)
        guard case .verified = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(
            Set(try FileManager.default.contentsOfDirectory(atPath: fixture.directory.path)).isSubset(of: Self.names))
    }

    private static let names: Set = [
        "authority.sqlite", "authority.sqlite-wal", "authority.sqlite-shm", "authority.sqlite.lock", "authority.key",
    ]

    @Test("never goes over what is there, and leaves nothing behind when it is refused")
    func refused() async throws {
        let fixture = try await AuthorityFixture()
        let backup = try await AuthorityBackup.copy(of: fixture.directory.path, now: fixture.clock.now)
        await #expect(throws: BackupError.notEmpty(directory: fixture.directory.path, file: "authority.sqlite")) {
            try await backup.restore(to: fixture.directory.path)
        }
        let empty = TemporaryDirectory()
        await #expect(throws: BackupError.noStore(empty.path)) {
            try await AuthorityBackup.copy(of: empty.path, now: fixture.clock.now)
        }
        let stranger = try await AuthorityFixture()
        let other = try await AuthorityBackup.copy(of: stranger.directory.path, now: stranger.clock.now)
        let mixed = AuthorityBackup(summary: backup.summary, sealingKey: other.sealingKey, store: backup.store)
        await #expect(throws: BackupError.keyMismatch) { try await mixed.restore(to: empty.path) }
        let torn = AuthorityBackup(
            summary: backup.summary, sealingKey: backup.sealingKey, store: Array(backup.store.prefix(5000)))
        await #expect(throws: BackupError.self) { try await torn.restore(to: empty.path) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: empty.path).isEmpty)
    }

    @Test("that is cut off, changed anywhere, of another version or under another passphrase does not open")
    func damaged() throws {
        let content = Array("what is to be kept".utf8)
        let sealed = try SealedBackup.seal(content, passphrase: Self.passphrase, rounds: 2)
        #expect(try SealedBackup.open(sealed, passphrase: Self.passphrase, rounds: 2) == content)
        #expect(throws: BackupError.wrongPassphraseOrDamaged) {
            try SealedBackup.open(sealed, passphrase: Array("correct horse batterz".utf8), rounds: 2)
        }
        #expect(throws: BackupError.shortPassphrase) {
            try SealedBackup.seal(content, passphrase: Array("too short".utf8), rounds: 2)
        }
        #expect(throws: BackupError.notABackup) { try SealedBackup.open([], passphrase: Self.passphrase, rounds: 2) }
        #expect(throws: BackupError.notABackup) {
            try SealedBackup.open(content, passphrase: Self.passphrase, rounds: 2)
        }
        for length in 1..<(16 + 1 + 16 + 12 + 16) {
            #expect(throws: BackupError.truncated) {
                try SealedBackup.open(Array(sealed[..<length]), passphrase: Self.passphrase, rounds: 2)
            }
        }
        var other = sealed
        other[16] = 2
        #expect(throws: BackupError.unknownVersion(2)) {
            try SealedBackup.open(other, passphrase: Self.passphrase, rounds: 2)
        }
        for index in 17..<sealed.count {
            var changed = sealed
            changed[index] ^= 1
            #expect(throws: BackupError.wrongPassphraseOrDamaged) {
                try SealedBackup.open(changed, passphrase: Self.passphrase, rounds: 2)
            }
        }
        for length in (16 + 1 + 16 + 12 + 16)..<sealed.count {
            #expect(throws: BackupError.wrongPassphraseOrDamaged) {
                try SealedBackup.open(Array(sealed[..<length]), passphrase: Self.passphrase, rounds: 2)
            }
        }
        #expect(throws: BackupError.wrongPassphraseOrDamaged) {
            try SealedBackup.open(Array(sealed.dropLast()), passphrase: Self.passphrase, rounds: 2)
        }
    }

    @Test("of content that is cut off anywhere, or has more than it should, is none")
    func content() throws {
        let summary = AuthorityBackup.Summary(
            trustDomain: "td.test", bundleSequence: 3, authorities: 2, nodes: 1, madeAt: 1)
        let backup = AuthorityBackup(summary: summary, sealingKey: [UInt8](repeating: 1, count: 32), store: [1, 2, 3])
        let content = try backup.content()
        #expect(try AuthorityBackup(content: content) == backup)
        for length in 0..<content.count {
            #expect(throws: BackupError.self) { try AuthorityBackup(content: Array(content[..<length])) }
        }
        #expect(throws: BackupError.self) { try AuthorityBackup(content: content + [0]) }
        var huge = content
        huge[0] = 0xff
        #expect(throws: BackupError.self) { try AuthorityBackup(content: huge) }
    }
}
