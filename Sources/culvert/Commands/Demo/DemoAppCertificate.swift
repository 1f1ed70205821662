import ArgumentParser
import IPAddressing

/// `culvert demo-app certificate`
struct DemoAppCertificate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certificate", abstract: "Writes a pod's SVID and key, for trying a tunnel port by hand.",
        shouldDisplay: false)

    @Option(help: "Where attested nodes connect.") var ca: String
    @Option(help: "The authority's bundle, a PEM file.") var caBundle: String
    @Option(help: "Where the node's proxy keeps its own certificate.") var stateDir: String
    @Option(help: "The pod, which is on the node.") var podUID: String
    @Option(help: "The pod's SPIFFE ID.") var id: String
    @Option(help: "Where the chain goes, leaf first, PEM.") var chain: String
    @Option(help: "Where the key goes, PEM.") var key: String

    func run() async throws {
        guard let authority = SocketAddress(ca) else {
            throw ValidationError("an address is an IP address and a port")
        }
        let request = ClientCertificateRequest(
            authority: authority, bundlePath: caBundle, stateDirectory: stateDir, podUID: podUID, id: id)
        let (chainPEM, keyPEM) = try await request.run()
        try TextFile.write(chain, chainPEM)
        try TextFile.write(key, keyPEM)
    }
}
