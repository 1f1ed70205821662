/// What a plug-in CA consists of, as bytes: Istio's `cacerts` spelling, or that of a Kubernetes TLS secret.
public struct PluginFiles: Sendable, Equatable {
    public struct File: Sendable, Equatable {
        public let name: String
        public let bytes: [UInt8]

        public init(name: String, bytes: [UInt8]) {
            self.name = name
            self.bytes = bytes
        }
    }

    /// The signing certificate, and perhaps what is above it.
    public var certificate: File
    public var key: File
    /// The trust anchors: what verifiers are told to trust.
    public var root: File
    /// What leads from the signing certificate to a root, both perhaps included.
    public var chain: File?
    public var revocations: File?

    public init(certificate: File, key: File, root: File, chain: File? = nil, revocations: File? = nil) {
        self.certificate = certificate
        self.key = key
        self.root = root
        self.chain = chain
        self.revocations = revocations
    }

    /// Of each file.
    public static let bytesMax = 1 << 20

    /// How the files are named. One directory has one spelling.
    struct Spelling: Sendable {
        let certificate: String
        let key: String
        let root: String
        let chain: String?

        var required: [String] { [certificate, key, root] + (chain.map { [$0] } ?? []) }

        static let istio = Spelling(
            certificate: "ca-cert.pem", key: "ca-key.pem", root: "root-cert.pem", chain: "cert-chain.pem")
        static let kubernetes = Spelling(certificate: "tls.crt", key: "tls.key", root: "ca.crt", chain: nil)
        static let revocations = "ca-crl.pem"

        /// By the names that are there.
        static func of(_ present: Set<String>, in directory: String) throws(PluginFlaw) -> Spelling {
            let spellings = [istio, kubernetes].filter { !present.isDisjoint(with: $0.required) }
            guard let spelling = spellings.first else { throw .noFiles(directory) }
            guard spellings.count == 1 else { throw .twoSpellings(directory) }
            let missing = spelling.required.filter { !present.contains($0) }
            guard missing.isEmpty else { throw .missing(missing, of: spelling.required) }
            return spelling
        }
    }
}
