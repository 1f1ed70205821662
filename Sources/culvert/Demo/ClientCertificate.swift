/// An SVID on disk for trying the tunnel port by hand; made for `--keep` only, and removed with the demo.
struct ClientCertificate: Sendable {
    let chainPath: String
    let keyPath: String
    let bundlePath: String
}
