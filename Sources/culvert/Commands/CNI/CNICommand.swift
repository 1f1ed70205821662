import ArgumentParser
import CNI
import Glibc

/// `culvert cni`
struct CNICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cni",
        abstract: "The CNI plugin: a pod of the mesh starts only when its connections are captured.",
        discussion: """
            Without a subcommand it is the plugin itself: it reads CNI_COMMAND and the other variables, and the network \
            configuration from standard input, as the CNI specification (up to 1.1) has it. On nodes the small program \
            culvert-cni does the same.

            It stands behind the node's own network plugin, changes nothing in the pod, and answers what that has answered. ADD \
            returns when the agent has put capture and guard in place, after five seconds at most. While the agent is away, pods of \
            enrolled namespaces do not start (the kubelet tries again), and others do.

            EXAMPLES
              culvert cni install --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin
              culvert cni uninstall --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin
            """,
        subcommands: [CNIInstall.self, CNIUninstall.self]
    )

    func run() async throws {
        guard getenv("CNI_COMMAND") != nil else { throw CleanExit.helpRequest(self) }
        throw ExitCode(CNIPlugin.run())
    }
}

/// Where the node's container runtime looks, as this process sees it.
struct CNIDirectories: ParsableArguments {
    @Option(help: "The directory of the node's network configurations.")
    var confDir = "/etc/cni/net.d"

    @Option(help: "The directory of the node's network plugins.")
    var binDir = "/opt/cni/bin"

    @Option(help: "The agent's directory, as the node sees it.")
    var runDir = AgentRun.standardRunDirectory

    @Option(
        name: .customLong("exempt-namespace"),
        help: ArgumentHelp(
            """
            A namespace whose pods never wait for the agent: what the cluster cannot do without, and Culvert's own; may be repeated. \
            (default: kube-system, kube-public, kube-node-lease)
            """, valueName: "name"))
    var exemptNamespaces: [String] = []

    @Option(help: "The program that becomes the plugin. (default: culvert-cni, beside this program)")
    var program: String?

    var installation: CNIInstallation {
        let exempt = PluginSettings.standardExemptNamespaces + exemptNamespaces
        return CNIInstallation(
            configurationDirectory: confDir, binaryDirectory: binDir, executable: program ?? Self.besideThis,
            settings: PluginSettings(
                runDirectory: runDir,
                exemptNamespaces: exempt.enumerated().filter { !exempt[..<$0.offset].contains($0.element) }
                    .map(\.element)))
    }

    private static var besideThis: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return own.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/" + PluginSettings.type
    }
}
