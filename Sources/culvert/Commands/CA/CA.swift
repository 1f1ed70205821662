import ArgumentParser

/// `culvert ca …`
struct CA: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "The authority: issues the identities that the mesh trusts.",
        subcommands: [
            CAServe.self, CAToken.self, CAStatus.self, CARotate.self, CAPrepare.self, CAActivate.self, CATaint.self,
            CARevoke.self, CAAbort.self, CABundle.self, CAMint.self, CADoctor.self, CAExport.self, CAImport.self,
        ]
    )
}
