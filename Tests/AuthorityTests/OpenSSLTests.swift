import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// What an implementation that shares nothing with ours says.
@Suite struct OpenSSLTests {
    private static let openssl = ["/usr/bin/openssl", "/usr/local/bin/openssl"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    @Test(
        "openssl verifies root, intermediate and leaf, strictly",
        .enabled(if: openssl != nil, "needs the openssl command"))
    func verifies() async throws {
        let fixture = try await AuthorityFixture(clock: TestClock(Date()))
        let svid = try await fixture.webSVID()
        let files = [("root", fixture.root), ("intermediate", svid.certificates[1]), ("leaf", svid.certificates[0])]
        for (name, certificate) in files {
            let pem = PEMDocument(type: "CERTIFICATE", derBytes: certificate.der()).pemString
            try Data(pem.utf8).write(to: .init(filePath: "\(fixture.directory.path)/\(name).pem"))
        }
        for purpose in ["sslclient", "sslserver"] {
            let status = try run([
                "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile",
                "\(fixture.directory.path)/root.pem",
                "-untrusted", "\(fixture.directory.path)/intermediate.pem", "\(fixture.directory.path)/leaf.pem",
            ])
            #expect(status == 0, "openssl verify -purpose \(purpose)")
        }
    }

    private func run(_ arguments: [String]) throws -> Int32 {
        let path = try #require(Self.openssl)
        var child: pid_t = 0
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        #expect(posix_spawn(&child, path, nil, nil, &pointers, &environment) == 0)
        var status: Int32 = 0
        #expect(waitpid(child, &status, 0) == child)
        return (status >> 8) & 0xff
    }
}
