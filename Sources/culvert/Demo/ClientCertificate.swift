/// An SVID on disk for trying the tunnel port by hand; made for `--keep` only, and removed with the demo.
struct ClientCertificate: Sendable {
    let chainPath: String
    let keyPath: String
    let bundlePath: String

    static func write(
        _ mesh: MeshProcesses, _ topology: DemoTopology, _ directory: RunDirectory
    ) throws -> ClientCertificate {
        ClientCertificate(
            chainPath: directory.file("client.pem"), keyPath: directory.file("client.key"), bundlePath: mesh.bundle)
    }
}
