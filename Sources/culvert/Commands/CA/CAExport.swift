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
            The authority may run meanwhile. The files of a plug-in CA (--ca-dir) are not in it.

            Whoever has the file and the passphrase can sign as this authority. A backup is good until authorities or nodes \
            change: make one after each rotation.

            EXAMPLES
              culvert ca export --data /var/lib/culvert --output culvert.backup
              culvert ca export --data ca --output - --passphrase-file passphrase | ssh vault 'cat >culvert.backup'
            """
    )

    @Option(help: ArgumentHelp("The authority's data directory.", valueName: "dir"))
    var data: String

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Where the backup goes; never overwritten. - is standard output.", valueName: "file"))
    var output: String

    @OptionGroup var passphrase: PassphraseOptions

    func run() async throws {
        try await CommandFailure.reporting {
            guard output == "-" || access(output, F_OK) != 0 else {
                throw CommandFailure("\(output) exists", hint: "move it away first, or give another --output")
            }
            guard output != "-" || isatty(STDOUT_FILENO) == 0 else {
                throw CommandFailure("a backup is not for a terminal", hint: "give --output a file")
            }
            let passphrase = try passphrase.read(confirm: true)
            do {
                let backup = try await AuthorityBackup.copy(of: data, now: Date())
                let sealed = try SealedBackup.seal(try backup.content(), passphrase: passphrase)
                try BackupFile.write(sealed, to: output)
                StandardError.write("\(backup.summary.text)\n")
            } catch let error as BackupError {
                throw CommandFailure("\(error)", hint: error.hint)
            }
        }
    }
}

extension AuthorityBackup.Summary {
    /// One line for people.
    var text: String {
        let at = Date(timeIntervalSince1970: Double(madeAt)).formatted(.iso8601)
        return
            "Trust domain \(trustDomain), bundle \(bundleSequence), \(authorities) authorities, \(nodes) nodes, at \(at)."
    }
}
