import ArgumentParser

/// `culvert cert …`
struct Cert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cert",
        abstract: "Look into certificates.",
        subcommands: [
            CertInspect.self, CertVerify.self, CertLint.self, CertFingerprint.self, CertNeedsRenewal.self,
            CertList.self,
        ]
    )
}
