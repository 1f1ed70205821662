import ArgumentParser
import CNI
import Glibc

/// `culvert cni install`
struct CNIInstall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install",
        abstract: "Puts the CNI plugin into the node's network configuration.",
        discussion: """
            Copies the plugin's program, and appends the plugin to the first configuration in the directory, of which every other \
            byte stays as it is. A configuration of a single plugin is wrapped into a list; it is put aside, and back again by \
            uninstall. Nothing is changed where all is there already.

            With --watch it goes on, and does so again when the network plugin writes its configuration anew, or has none yet.

            EXAMPLES
              culvert cni install --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin
              culvert cni install --exempt-namespace culvert-system --watch
            """
    )

    private static let interval = Duration.milliseconds(500)

    @OptionGroup var directories: CNIDirectories

    @Flag(help: "Go on, and repair it when it is changed.")
    var watch = false

    func run() async throws {
        try await CommandFailure.reporting {
            let installation = directories.installation
            var said: String?
            repeat {
                let text: String?
                do {
                    switch try installation.install() {
                    case .installed(let path): text = "installed in \(path)"
                    case .waiting: text = "\(directories.confDir) has no network configuration yet"
                    case .unchanged: text = said == nil ? "nothing to do: it is installed" : nil
                    }
                } catch {
                    guard watch else {
                        throw CommandFailure(
                            "the plugin cannot be installed: \(error)", hint: "see --help for the directories")
                    }
                    text = "not installed, will be tried again: \(error)"
                }
                if let text, text != said || text.hasPrefix("installed") {
                    print(text)
                    fflush(nil)
                    said = text
                }
                if watch { try await Task.sleep(for: Self.interval) }
            } while watch
        }
    }
}

/// `culvert cni uninstall`
struct CNIUninstall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uninstall",
        abstract: "Takes the CNI plugin out of the node's network configuration.",
        discussion: """
            Of every configuration in the directory only the plugin's own entry goes. From then on pods start without waiting for \
            the agent. It may be repeated.

            With --watch it goes on, so that it can stand in a DaemonSet in the place of install.

            EXAMPLES
              culvert cni uninstall --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin
            """
    )

    @OptionGroup var directories: CNIDirectories

    @Flag(help: "Go on, until it is ended.")
    var watch = false

    func run() async throws {
        try await CommandFailure.reporting {
            do {
                let changed = try directories.installation.uninstall()
                for path in changed { print("removed from \(path)") }
                if changed.isEmpty { print("nothing to do: it is not installed") }
                fflush(nil)
                while watch { try await Task.sleep(for: .seconds(3600)) }
            } catch {
                throw CommandFailure("the plugin is not wholly removed: \(error)", hint: "mend it, and run it again")
            }
        }
    }
}
