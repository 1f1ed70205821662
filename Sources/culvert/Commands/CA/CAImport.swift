import ArgumentParser
import Authority
import FoundationEssentials
import Glibc

/// `culvert ca import`
struct CAImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Makes a data directory of a backup.",
        discussion: """
            The data directory must hold no authority. The backup is tried out before anything is put in place; a wrong \
            passphrase or a damaged file changes nothing.

            An older copy than nodes have seen is found out when they connect: the log and 'culvert ca status' say so, and \
            rotations wait. Never run the authority that the backup is of and its copy at the same time.

            EXAMPLES
              culvert ca import culvert.backup --data /var/lib/culvert
              ssh vault 'cat culvert.backup' | culvert ca import - --data ca --passphrase-file passphrase
              culvert ca import culvert.backup --check
            """
    )

    @Argument(help: ArgumentHelp("The backup; - is standard input.", valueName: "file"))
    var file: String

    @Option(help: ArgumentHelp("The data directory; made if missing.", valueName: "dir"))
    var data: String?

    @Flag(help: "Opens the backup and says what is in it, nothing more.")
    var check = false

    @OptionGroup var passphrase: PassphraseOptions

    func validate() throws {
        guard check != (data != nil) else { throw ValidationError("give either --data or --check") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            do {
                let sealed = try BackupFile.read(file)
                let backup = try AuthorityBackup(
                    content: SealedBackup.open(sealed, passphrase: try passphrase.read(confirm: false)))
                if let data {
                    guard mkdir(data, 0o700) == 0 || errno == EEXIST else {
                        throw CommandFailure("cannot make the directory \(data): \(String(cString: strerror(errno)))")
                    }
                    try await backup.restore(to: data)
                }
                print(backup.summary.text)
            } catch let error as BackupError {
                throw CommandFailure("\(error)", hint: error.hint)
            }
        }
    }
}
