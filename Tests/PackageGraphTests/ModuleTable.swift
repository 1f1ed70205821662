/// The modules and their arrows: what each may import of ours, and which packages.
struct Module {
    let name: String
    let ours: Set<String>
    let packages: Set<String>
    /// Must not import Foundation, not even its essentials.
    let foundation: Foundation

    enum Foundation {
        case none
        case essentials
        /// A dependency's API speaks Foundation's types.
        case whole
    }

    init(_ name: String, _ ours: Set<String>, _ packages: Set<String> = [], foundation: Foundation = .essentials) {
        self.name = name
        self.ours = ours
        self.packages = packages
        self.foundation = foundation
    }
}

let x509: Set<String> = ["X509", "SwiftASN1", "Crypto", "_CryptoExtras", "CryptoExtras"]
let grpc: Set<String> = [
    "GRPCCore", "GRPCNIOTransportHTTP2Posix", "GRPCNIOTransportHTTP2", "GRPCProtobuf", "SwiftProtobuf",
]
let nio: Set<String> = [
    "NIOCore", "NIOSSL", "NIOPosix", "NIOHTTP1", "NIOHTTP2", "NIOHPACK", "NIOCertificateReloading",
]

/// In the order of `Package.swift`: an arrow may only point upwards in this list.
let modules: [Module] = [
    Module("IPAddressing", [], foundation: .none),
    Module("SPIFFE", [], x509),
    Module("MeshState", ["SPIFFE", "IPAddressing"], ["Collections", "HashTreeCollections"], foundation: .none),
    Module("HBONE", ["SPIFFE", "COpenSSL", "CNGHTTP2"], foundation: .none),
    Module("LinuxNetworking", ["IPAddressing", "CLinux"], foundation: .none),
    Module("BPFPrograms", [], foundation: .none),
    Module("Redirection", ["LinuxNetworking", "IPAddressing", "CLibBPF", "BPFPrograms"], foundation: .none),
    Module("PostgreSQL", ["CPostgreSQL"], ["Dispatch"], foundation: .none),
    Module("CNI", ["IPAddressing"], foundation: .none),
    Module("Authority", ["SPIFFE", "PostgreSQL"], x509.union(["GRDB", "Logging"]), foundation: .whole),
    Module("WorkloadIdentity", ["SPIFFE"], x509.union(["Logging"])),
    Module("MeshFile", ["SPIFFE", "MeshState", "IPAddressing"], ["Yams"]),
    Module(
        "KubernetesAPI", [],
        ["AsyncHTTPClient", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "Yams", "Logging"]),
    Module("Observability", [], ["Hummingbird", "HTTPTypes", "Logging"]),
    Module(
        "MeshAPI", ["SPIFFE", "MeshState", "IPAddressing", "LinuxNetworking"],
        x509.union(grpc).union(nio).union(["Logging"]),
        // What the protocol compiler's plugin writes for `bytes` fields.
        foundation: .whole
    ),
    Module("Dataplane", ["SPIFFE", "MeshState", "HBONE", "LinuxNetworking", "IPAddressing"]),
    Module(
        "NodeAgent",
        [
            "SPIFFE", "MeshState", "MeshAPI", "MeshFile", "KubernetesAPI", "Redirection", "LinuxNetworking",
            "IPAddressing", "CNI",
        ],
        ["ServiceLifecycle", "Logging"]
    ),
]

/// Arrows that somebody will want one day, and why they must not be.
let forbidden: [(from: String, to: String, because: String)] = [
    ("Dataplane", "MeshAPI", "the proxy must run on any source of mesh state and identities"),
    ("Dataplane", "WorkloadIdentity", "the proxy must run on any source of identities"),
    ("Dataplane", "Redirection", "capture is the agent's: our proxy runs under istio-cni, too"),
    ("Authority", "MeshAPI", "the authority decides; the protocol that carries its answers is an adapter's"),
    ("Authority", "CPostgreSQL", "libpq's pointers stay behind PostgreSQL's statements and rows"),
    ("Authority", "MeshFile", "who has which pod is asked of any PodRegistry: a file today, the cluster tomorrow"),
    ("HBONE", "LinuxNetworking", "the protocol has no I/O, or it could not be tested at every offset"),
    ("HBONE", "IPAddressing", "the protocol carries authorities as text; what they mean is the data plane's"),
    ("MeshState", "MeshAPI", "state does not know the wire it came by"),
    ("SPIFFE", "IPAddressing", "an identity is not an address"),
    ("LinuxNetworking", "MeshState", "the kernel knows no mesh"),
    ("LinuxNetworking", "CLibBPF", "the proxy uses it, and has no need of eBPF"),
    ("NodeAgent", "CLibBPF", "the kernel's objects stay behind Redirection's types"),
    ("Redirection", "MeshState", "capture installs what it is told, for one pod"),
    ("NodeAgent", "Dataplane", "agent and proxy are processes that live and die alone"),
    ("NodeAgent", "Authority", "the agent is no authority: it cannot decide who somebody is"),
    ("Authority", "KubernetesAPI", "the cluster is one of the answers to who has which pod; an adapter asks it"),
    ("Dataplane", "KubernetesAPI", "the proxy asks its agent about the mesh, and has no credentials for the cluster"),
    ("Observability", "Dataplane", "what is shown is handed in by the composition"),
]
