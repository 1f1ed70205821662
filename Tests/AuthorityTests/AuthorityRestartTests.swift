import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct AuthorityRestartTests {
    @Test("a restart keeps root, intermediate, tokens, nodes, acknowledgements and the log")
    func keepsEverything() async throws {
        let directory = TemporaryDirectory()
        let clock = TestClock()
        let before = try await Self.firstRun(directory, clock)
        clock.advance(.seconds(60))
        let fixture = try await AuthorityFixture(directory: directory, clock: clock)
        #expect(fixture.authority.bundle.current == before.bundle)
        #expect(fixture.authority.status().authorities.map(\.id) == before.authorities)
        #expect(fixture.authority.status().nodes == before.nodes)
        #expect(fixture.authority.status().nodes[0].acknowledgement?.sequence == 1)
        #expect(try await fixture.store.issuances(limit: 10).count == 2)
        let node = NodeCaller(
            id: try SPIFFEID("spiffe://culvert.test/culvert/node/node-a"), serial: before.nodes[0].serial)
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        await #expect(throws: Denial.tokenUsed) {
            try await fixture.authority.attestNode(token: before.usedToken, csr: request(), source: "test")
        }
        _ = try await fixture.authority.attestNode(token: before.openToken, csr: request(), source: "test")
        let verdict = PeerVerifier(bundles: fixture.bundles)
            .verify(chainDER: before.leaf.map { $0.der() }, role: .client, now: clock.now)
        guard case .verified = verdict else {
            Issue.record("a leaf from before the restart is refused: \(verdict)")
            return
        }
    }

    private struct Before {
        let bundle: TrustBundle
        let authorities: [AuthorityID]
        let nodes: [NodeRecord]
        let usedToken: String
        let openToken: String
        let leaf: [Certificate]
    }

    private static func firstRun(_ directory: TemporaryDirectory, _ clock: TestClock) async throws -> Before {
        let fixture = try await AuthorityFixture(directory: directory, clock: clock)
        let used = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        let open = try await fixture.authority.createJoinToken(node: NodeName("node-b")).token
        let node = NodeCaller(
            try await fixture.authority.attestNode(token: used.text, csr: request(), source: "test"))
        let leaf = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        try await fixture.authority.acknowledge(
            sequence: 1, version: "test",
            leaves: [.init(authority: leaf.record.authority, count: 1, oldestExpiry: leaf.record.notAfter.unixSeconds)],
            caller: node)
        let status = fixture.authority.status()
        return Before(
            bundle: fixture.authority.bundle.current, authorities: status.authorities.map(\.id), nodes: status.nodes,
            usedToken: used.text, openToken: open.text, leaf: leaf.certificates)
    }

    @Test("files are readable by their owner only")
    func modes() async throws {
        let fixture = try await AuthorityFixture()
        for name in ["authority.sqlite", "authority.sqlite-wal", "authority.key"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(fixture.directory.path)/\(name)")
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    @Test("private keys are not in the store in the clear")
    func sealedKeys() async throws {
        let fixture = try await AuthorityFixture()
        let seal = try SealingKeyFile.read("\(fixture.directory.path)/authority.key")
        var files: [UInt8] = []
        for name in ["authority.sqlite", "authority.sqlite-wal"] {
            files += [UInt8](try Data(contentsOf: .init(filePath: "\(fixture.directory.path)/\(name)")))
        }
        for record in try await fixture.store.authorities().records {
            let key = try SigningAuthority(record, seal: seal).key
            let der = try key.serializeAsPEM().derBytes
            // The key's 32 secret bytes stand somewhere in its PKCS #8 form; no window of it may be in the file.
            for start in stride(from: 0, to: der.count - 24, by: 8) where start > 26 && start < 60 {
                #expect(!files.contains(Array(der[start..<start + 16])))
            }
            #expect(files.contains(record.certificate.der()))
        }
    }

    @Test("sealed keys cannot be exchanged for one another")
    func swappedKeys() async throws {
        let fixture = try await AuthorityFixture()
        let seal = try SealingKeyFile.read("\(fixture.directory.path)/authority.key")
        var records = try await fixture.store.authorities().records
        (records[0].sealedKey, records[1].sealedKey) = (records[1].sealedKey, records[0].sealedKey)
        #expect(throws: AuthorityError.seal(.wrongKey)) { try SigningAuthority(records[0], seal: seal) }
    }

    @Test("another key file is recognised at once")
    func wrongKeyFile() async throws {
        let directory = TemporaryDirectory()
        _ = try await AuthorityFixture(directory: directory).authority
        unlink("\(directory.path)/authority.key")
        _ = try SealingKeyFile.create("\(directory.path)/authority.key", random: systemRandomBytes)
        let error = await #expect(throws: AuthorityError.self) { try await AuthorityFixture(directory: directory) }
        #expect(error == .seal(.wrongKey))
        #expect(error?.hint?.contains("backup") == true)
    }

    @Test("a missing key file beside a store is an error with a hint, not a new beginning")
    func missingKeyFile() async throws {
        let directory = TemporaryDirectory()
        _ = try await AuthorityFixture(directory: directory).authority
        unlink("\(directory.path)/authority.key")
        let error = await #expect(throws: SealingKeyFileError.self) { try await AuthorityFixture(directory: directory) }
        #expect(error == .missing("\(directory.path)/authority.key"))
        #expect(error?.hint?.contains("restore") == true)
    }

    @Test("a key file that others can read, or of a wrong length, is refused", arguments: [0o640, 0o604, 0o666, 0o620])
    func keyFileMode(mode: Int) async throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/authority.key"
        _ = try await AuthorityFixture(directory: directory).authority
        chmod(path, mode_t(mode))
        #expect(throws: SealingKeyFileError.readableByOthers(path)) { try AuthorityDirectory(path: directory.path) }
        chmod(path, 0o600)
        truncate(path, 31)
        #expect(throws: SealingKeyFileError.wrongLength(path, 31)) { try AuthorityDirectory(path: directory.path) }
    }

    @Test(
        "a key file of root's may be given to a group, as a mounted secret is; nobody else's",
        arguments: [
            (0o640, 0, 65532, true), (0o440, 0, 65532, true), (0o400, 0, 65532, true), (0o600, 65532, 65532, true),
            (0o660, 0, 65532, false), (0o644, 0, 65532, false), (0o640, 65532, 65532, false), (0o640, 0, 0, false),
            (0o650, 0, 65532, false), (0o440, 1000, 65532, false),
        ])
    func keyFileOfRoot(mode: Int, owner: Int, reader: Int, isPrivate: Bool) {
        #expect(
            SealingKeyFile.isPrivate(mode: mode_t(mode), owner: uid_t(owner), reader: uid_t(reader)) == isPrivate)
    }

    @Test("a key file is never overwritten")
    func neverOverwritten() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/authority.key"
        _ = try SealingKeyFile.create(path, random: systemRandomBytes)
        #expect(throws: SealingKeyFileError.self) { try SealingKeyFile.create(path, random: systemRandomBytes) }
    }

    @Test("two authorities cannot run on one directory")
    func inUse() async throws {
        let fixture = try await AuthorityFixture()
        let error = #expect(throws: StoreError.self) { try AuthorityDirectory(path: fixture.directory.path) }
        #expect(error == .inUse(path: "\(fixture.directory.path)/authority.sqlite"))
    }

    @Test("a damaged store is refused with what to do", arguments: ["header", "inside", "other file"])
    func damaged(where place: String) async throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/authority.sqlite"
        try await Self.fill(directory)
        var bytes = [UInt8](try Data(contentsOf: .init(filePath: path)))
        switch place {
        case "header": bytes.replaceSubrange(0..<16, with: [UInt8](repeating: 0xff, count: 16))
        case "inside": for index in 4096..<min(bytes.count, 40960) { bytes[index] = 0xa5 }
        default: bytes = Array("this is not a database, whatever its name says; it is a text file of some length".utf8)
        }
        try Data(bytes).write(to: .init(filePath: path))
        unlink(path + "-wal")
        unlink(path + "-shm")
        let error = await #expect(throws: (any Error).self) { try await AuthorityFixture(directory: directory) }
        guard case .corrupted? = error as? StoreError else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    private static func fill(_ directory: TemporaryDirectory) async throws {
        let fixture = try await AuthorityFixture(directory: directory)
        try await fixture.join("node-a")
        try fixture.store.execute(onEveryConnection: "PRAGMA wal_checkpoint(TRUNCATE)")
    }

    @Test("a directory of another trust domain is refused")
    func otherTrustDomain() async throws {
        let directory = TemporaryDirectory()
        _ = try await AuthorityFixture(directory: directory).authority
        let home = try AuthorityDirectory(path: directory.path)
        let error = await #expect(throws: AuthorityError.self) {
            try await CertificateAuthority.open(
                .init(trustDomain: TrustDomain("other.test")), store: home.store, seal: home.seal, pods: PodTable())
        }
        #expect(error == .otherTrustDomain(stored: "culvert.test", wanted: "other.test"))
    }

    @Test("a clock from before the root's making stops the start")
    func clockBehind() async throws {
        let directory = TemporaryDirectory()
        let clock = TestClock()
        _ = try await AuthorityFixture(directory: directory, clock: clock).authority
        clock.advance(.seconds(-119))
        _ = try await AuthorityFixture(directory: directory, clock: clock).authority
        clock.advance(.seconds(-2))
        let error = await #expect(throws: AuthorityError.self) {
            try await AuthorityFixture(directory: directory, clock: clock)
        }
        guard case .clockBeforeRoot? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("an expired root stops the start")
    func expiredRoot() async throws {
        let directory = TemporaryDirectory()
        let clock = TestClock()
        _ = try await AuthorityFixture(directory: directory, clock: clock).authority
        clock.advance(.seconds(365 * 86400))
        await #expect(throws: AuthorityError.rootExpired(clock.now)) {
            try await AuthorityFixture(directory: directory, clock: clock)
        }
    }
}
