import ArgumentParser
import Glibc

/// Mutual TLS between pods, for whole namespaces, without sidecars.
@main
struct Culvert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "culvert",
        abstract: "Encrypts and authenticates every TCP connection between enrolled pods.",
        discussion: """
            Three roles make a mesh: one authority, and on every node an agent and a proxy.

            EXAMPLES
              culvert demo                              see it work on this machine
              culvert ca serve --data /var/lib/culvert --trust-domain example.org --mesh mesh.yaml
              culvert agent run --node node-a --mesh mesh.yaml
              culvert proxy run --node node-a --trust-domain example.org --ca 10.0.0.1:15012
              culvert status                            a cluster's mesh: what is enrolled, and why not
              culvert node list                         who has joined, and who lags behind
              culvert cert inspect svid.pem             look into a certificate
              culvert verify --mesh mesh.yaml --node node-a shop/web shop/api   is this pair protected?
            """,
        version: "0.1.0",
        subcommands: [
            Status.self, CA.self, NodeCommand.self, AgentCommand.self, CNICommand.self, ProxyCommand.self, Verify.self,
            Cert.self,
            Demo.self,
            DemoApp.self,
        ]
    )

    static func main() async {
        ParentDeath.honour()
        // Sockets and files that a role makes are its owner's alone, unless it says otherwise.
        umask(0o077)
        await main(nil)
    }
}
