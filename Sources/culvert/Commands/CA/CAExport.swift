import ArgumentParser
import Authority
import FoundationEssentials
import Glibc

/// `culvert ca export`
struct CAExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes a backup of the authority, sealed with a passphrase.",
        discussion: """
            The backup holds everything in the data directory: keys, authorities, nodes, tokens and the record of what was signed. \
            The authority may run meanwhile. The files of a plug-in CA (--ca-dir) are not in it. With --store it is what the database \
            holds, and the data directory's authority.key; either kind of backup can be imported into either kind of store.

            Whoever has the file and the passphrase can sign as this authority. A backup is good until authorities or nodes \
            change: make one after each rotation.

            EXAMPLES
              culvert ca export --data /var/lib/culvert --output culvert.backup
              culvert ca export --data ca --output - --passphrase-file passphrase | ssh vault 'cat >culvert.backup'
              culvert ca export --data ca --store postgresql://culvert@db.example/culvert --output culvert.backup

            EXIT STATUS
              0   done
              1   it could not be done; nothing was changed
              64  wrong usage
            """
    )

    @Option(help: ArgumentHelp("The authority's data directory.", valueName: "dir"))
    var data: String

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Where the backup goes; never overwritten. - is standard output.", valueName: "file"))
    var output: String

    @OptionGroup var storing: StoreOptions
    @OptionGroup var passphrase: PassphraseOptions

    func run() async throws {
        try await CommandFailure.reporting {
            guard output == "-" || access(output, F_OK) != 0 else {
                throw CommandFailure("\(output) exists", hint: "move it away first, or give another --output")
            }
            guard output != "-" || isatty(STDOUT_FILENO) == 0 else {
                throw CommandFailure("a backup is not for a terminal", hint: "give --output a file")
            }
            let address = try storing.address()
            let passphrase = try passphrase.read(confirm: true)
            do {
                var database: PostgreSQLAuthorityStore?
                if let address { database = try await PostgreSQLAuthorityStore.existing(address) }
                let backup = try await AuthorityBackup.copy(of: data, in: database, now: Date())
                let sealed = try SealedBackup.seal(try backup.content(), passphrase: passphrase)
                try BackupFile.write(sealed, to: output)
                StandardError.write(BackupReport(backup.summary).text)
            } catch let error as BackupError {
                throw CommandFailure("\(error)", hint: error.hint)
            } catch let error as StoreError {
                throw CommandFailure("\(error)", hint: error.hint)
            }
        }
    }
}

/// What is in a backup: a line for people, a document for programs.
struct BackupReport: Encodable {
    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let bundleSequence: UInt64
    let authorities: Int
    let nodes: Int
    let madeAt: Date

    init(_ summary: AuthorityBackup.Summary) {
        trustDomain = summary.trustDomain
        bundleSequence = summary.bundleSequence
        authorities = summary.authorities
        nodes = summary.nodes
        madeAt = Date(timeIntervalSince1970: TimeInterval(summary.madeAt))
    }

    var text: String {
        "Trust domain \(trustDomain), bundle \(bundleSequence), \(authorities) authorities, \(nodes) nodes, "
            + "at \(madeAt.formatted(.iso8601)).\n"
    }
}
