import ArgumentParser
import Authority
import FoundationEssentials
import Glibc

/// `culvert ca import`
struct CAImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Makes a data directory of a backup, or fills a database with it.",
        discussion: """
            The data directory must hold no authority. The backup is tried out before anything is put in place; a wrong \
            passphrase or a damaged file changes nothing. With --store it is the database that must be empty, and the data directory \
            gets authority.key, if it is not there already: as each replica's does.

            An older copy than nodes have seen is found out when they connect: the log and 'culvert ca status' say so, and \
            rotations wait. Never run the authority that the backup is of and its copy at the same time.

            EXAMPLES
              culvert ca import culvert.backup --data /var/lib/culvert
              ssh vault 'cat culvert.backup' | culvert ca import - --data ca --passphrase-file passphrase
              culvert ca import culvert.backup --check --format json
              culvert ca import culvert.backup --data ca --store postgresql://culvert@db.example/culvert

            EXIT STATUS
              0   done
              1   it could not be done; nothing was changed
              64  wrong usage
            """
    )

    @Argument(help: ArgumentHelp("The backup; - is standard input.", valueName: "file"))
    var file: String

    @Option(help: ArgumentHelp("The data directory; made if missing.", valueName: "dir"))
    var data: String?

    @Flag(help: "Opens the backup and says what is in it, nothing more.")
    var check = false

    @Option(help: "text, json or yaml.")
    var format = AnswerFormat.text

    @OptionGroup var storing: StoreOptions
    @OptionGroup var passphrase: PassphraseOptions

    func validate() throws {
        guard check != (data != nil) else { throw ValidationError("give either --data or --check") }
        guard !check || storing.store == nil else { throw ValidationError("--store is for --data, not for --check") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            let address = try storing.address()
            do {
                let sealed = try BackupFile.read(file)
                let backup = try AuthorityBackup(
                    content: SealedBackup.open(sealed, passphrase: try passphrase.read(confirm: false)))
                if let data {
                    guard mkdir(data, 0o700) == 0 || errno == EEXIST else {
                        throw CommandFailure("cannot make the directory \(data): \(String(cString: strerror(errno)))")
                    }
                    if let address {
                        try await backup.restore(to: data, filling: PostgreSQLAuthorityStore.open(address))
                    } else {
                        try await backup.restore(to: data)
                    }
                }
                let report = BackupReport(backup.summary)
                print(try format.document?.text(report) ?? report.text, terminator: "")
            } catch let error as BackupError {
                throw CommandFailure("\(error)", hint: error.hint)
            } catch let error as StoreError {
                throw CommandFailure("\(error)", hint: error.hint)
            }
        }
    }
}
