// swift-tools-version: 6.2
import PackageDescription

// Targets stand bottom-up, in the order of the arrows in docs/design.md. `Tests/PackageGraphTests` checks them.

/// Where a dependency brings Foundation along, an optimised build takes the C library's structs for CoreFoundation's, and asks
/// for an import of that for every member of `stat`: these modules do without the check.
let settingsNearFoundation: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let settings = settingsNearFoundation + [.enableUpcomingFeature("MemberImportVisibility")]

/// What every byte of a connection passes: each object here belongs to one loop's thread, so that the run-time checks of exclusive
/// access, which cost a call per property, find nothing that debug builds and the tests in them would not have found.
let hotSettings =
    settings + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

func product(_ name: String, _ package: String) -> Target.Dependency {
    .product(name: name, package: package)
}

let x509 = product("X509", "swift-certificates")
let asn1 = product("SwiftASN1", "swift-asn1")
let crypto = product("Crypto", "swift-crypto")
let moreCrypto = product("_CryptoExtras", "swift-crypto")
let logging = product("Logging", "swift-log")
let lifecycle = product("ServiceLifecycle", "swift-service-lifecycle")
let signals = product("UnixSignals", "swift-service-lifecycle")

let grpc: [Target.Dependency] = [
    product("GRPCCore", "grpc-swift-2"),
    product("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"),
    product("GRPCProtobuf", "grpc-swift-protobuf"),
    product("SwiftProtobuf", "swift-protobuf"),
]

/// A module of ours, its tests beside it. Targets that tests import, too, are named in `tests`.
func module(
    _ name: String, _ dependencies: [Target.Dependency], tests: [Target.Dependency] = [], exclude: [String] = [],
    settings: [SwiftSetting] = settings
) -> [Target] {
    [
        .target(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings),
        .testTarget(
            name: name + "Tests", dependencies: [.target(name: name), "SeededRandom"] + dependencies + tests,
            swiftSettings: settings),
    ]
}

let package = Package(
    name: "culvert",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "culvert", targets: ["culvert"])],
    dependencies: [
        // X.509: certificates, signing requests, chain verification.
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        // The authority's store.
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        // The mesh file.
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        // xDS, and the authority's service.
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        // Whose each connection to the admin socket is.
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        // A TLS certificate that is replaced while its listener serves.
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        // Readiness, metrics and admin endpoints.
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        // The Kubernetes API. Its one trait is off.
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    ],
    targets: [
        // Libraries of the system.
        [
            .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
            .systemLibrary(name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
            .target(name: "CLinux"),
            // libpq, opened only where it is used.
            .target(name: "CPostgreSQL"),
            // libbpf's headers are Debian's libbpf-dev; the library is opened when it is needed.
            .target(name: "CLibBPF"),
            // The eBPF programs of `bpf/`, compiled by the toolchain's own clang.
            .plugin(name: "CompileBPF", capability: .buildTool(), path: "bpf/plugin"),
            .target(name: "BPFPrograms", swiftSettings: settings, plugins: ["CompileBPF"]),
        ],
        // Vocabulary.
        module("IPAddressing", []),
        module("SPIFFE", [x509, asn1, crypto], tests: ["RevocationFixtures"]),
        module(
            "MeshState", ["SPIFFE", "IPAddressing", product("HashTreeCollections", "swift-collections")]
        ),
        // Engines: what needs neither sockets nor the cluster, and what only touches the kernel.
        module("HBONE", ["SPIFFE", "COpenSSL", "CNGHTTP2"], tests: ["HTTP2Frames"], settings: hotSettings),
        module("LinuxNetworking", ["CLinux", "IPAddressing"], tests: ["NamespaceKit"], settings: hotSettings),
        module(
            "Redirection", ["LinuxNetworking", "IPAddressing", "CLibBPF", "BPFPrograms"],
            tests: ["NamespaceKit", "CLinux"]),
        module("PostgreSQL", ["CPostgreSQL"], tests: ["DatabaseKit"]),
        module("CNI", ["IPAddressing"], tests: ["LinuxNetworking", "culvert-cni"]),
        module(
            "Authority",
            ["SPIFFE", "PostgreSQL", x509, asn1, crypto, moreCrypto, product("GRDB", "GRDB.swift")],
            tests: ["DatabaseKit", "RevocationFixtures"], settings: settingsNearFoundation
        ),
        module("WorkloadIdentity", ["SPIFFE", x509, asn1, crypto, logging]),
        module(
            "MeshFile", ["SPIFFE", "MeshState", "IPAddressing", product("Yams", "Yams")],
            settings: settingsNearFoundation),
        module(
            "KubernetesAPI",
            [
                product("AsyncHTTPClient", "async-http-client"), product("NIOCore", "swift-nio"),
                product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"), product("NIOSSL", "swift-nio-ssl"),
                product("Yams", "Yams"), logging,
            ],
            tests: ["KubernetesKit"], settings: settingsNearFoundation),
        module("Observability", [product("Hummingbird", "hummingbird"), logging]),
        // Protocols, and the two halves of a node.
        module(
            "MeshAPI",
            [
                "SPIFFE", "MeshState", "IPAddressing", "LinuxNetworking", x509, asn1, crypto, logging,
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOSSL", "swift-nio-ssl"), product("NIOCertificateReloading", "swift-nio-extras"),
                product("NIOHTTP2", "swift-nio-http2"), product("NIOHPACK", "swift-nio-http2"),
            ] + grpc,
            exclude: ["Proto"]
        ),
        module(
            "Dataplane", ["SPIFFE", "MeshState", "HBONE", "LinuxNetworking", "IPAddressing"],
            tests: [
                "NamespaceKit", "Redirection", "HTTP2Frames", "RevocationFixtures", "COpenSSL", x509, asn1, crypto,
            ],
            settings: hotSettings
        ),
        module(
            "NodeAgent",
            [
                "SPIFFE", "MeshState", "MeshAPI", "MeshFile", "KubernetesAPI", "Redirection", "LinuxNetworking",
                "IPAddressing", "CNI", lifecycle,
                logging,
            ],
            tests: ["NamespaceKit", "KubernetesKit", "CLibBPF"],
            settings: settingsNearFoundation
        ),
        // Composition.
        [
            // Runs in the node's own file system, which has none of our libraries.
            .executableTarget(
                name: "culvert-cni", dependencies: ["CNI"], swiftSettings: settings,
                linkerSettings: [.unsafeFlags(["-static-executable"], .when(configuration: .release))]
            ),
            .executableTarget(
                name: "culvert",
                dependencies: [
                    "IPAddressing", "SPIFFE", "MeshState", "HBONE", "LinuxNetworking", "Redirection", "PostgreSQL",
                    "Authority",
                    "WorkloadIdentity", "MeshFile", "KubernetesAPI", "Observability", "MeshAPI", "Dataplane",
                    "NodeAgent", "CNI", x509, asn1,
                    crypto, logging, lifecycle, signals, "COpenSSL", product("ArgumentParser", "swift-argument-parser"),
                    product("Hummingbird", "hummingbird"), product("NIOCore", "swift-nio"), product("Yams", "Yams"),
                ] + grpc,
                swiftSettings: settingsNearFoundation
            ),
            // What tests share: hosts of network namespaces, HTTP/2 by hand, revocation lists, chance that can be repeated, and a
            // database.
            .target(name: "HTTP2Frames", path: "Tests/HTTP2Frames", swiftSettings: settings),
            .target(
                name: "RevocationFixtures", dependencies: [x509, asn1, crypto], path: "Tests/RevocationFixtures",
                swiftSettings: settings
            ),
            .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: settings),
            .target(
                name: "DatabaseKit", dependencies: ["PostgreSQL"], path: "Tests/DatabaseKit", swiftSettings: settings),
            .target(
                name: "NamespaceKit", dependencies: ["LinuxNetworking", "IPAddressing"], path: "Tests/NamespaceKit",
                swiftSettings: settings
            ),
            // The Kubernetes API server that tests talk to, in their own process or in one of its own.
            .target(
                name: "KubernetesKit",
                dependencies: [
                    x509, asn1, crypto, logging, product("Hummingbird", "hummingbird"),
                    product("HummingbirdTLS", "hummingbird"), product("HummingbirdHTTP2", "hummingbird"),
                    product("HummingbirdCore", "hummingbird"),
                    product("NIOCore", "swift-nio"),
                    product("NIOPosix", "swift-nio"),
                    product("NIOSSL", "swift-nio-ssl"), product("Yams", "Yams"),
                ],
                path: "Tests/KubernetesKit", swiftSettings: settingsNearFoundation
            ),
            .executableTarget(
                name: "api-server-stand-in",
                dependencies: [
                    "KubernetesKit", signals, product("NIOPosix", "swift-nio"),
                    product("ArgumentParser", "swift-argument-parser"),
                ],
                path: "Tests/APIServerStandIn", swiftSettings: settingsNearFoundation
            ),
            // A node's processes under the changes of a large cluster: a benchmark, and a test.
            .executableTarget(
                name: "cluster-load",
                dependencies: [
                    "KubernetesKit", "KubernetesAPI", "MeshAPI", "MeshState", "SPIFFE", logging,
                    product("ArgumentParser", "swift-argument-parser"),
                    product("AsyncHTTPClient", "async-http-client"), product("NIOCore", "swift-nio"),
                ],
                path: "Tests/ClusterLoad", swiftSettings: settingsNearFoundation
            ),
            .testTarget(
                name: "KubernetesKitTests", dependencies: ["KubernetesKit"], swiftSettings: settingsNearFoundation),
            .testTarget(name: "PackageGraphTests", swiftSettings: settings),
            .testTarget(
                name: "CommandTests",
                dependencies: [
                    "culvert", "NamespaceKit", "SeededRandom", "IPAddressing", "SPIFFE", "Authority", "MeshAPI",
                    "Observability", "WorkloadIdentity", "HBONE", "DatabaseKit", "KubernetesAPI", "KubernetesKit",
                    "NodeAgent", x509, asn1, crypto, logging,
                    product("ArgumentParser", "swift-argument-parser"), product("Yams", "Yams"),
                ] + grpc,
                swiftSettings: settings),
            .testTarget(
                name: "DemoTests",
                dependencies: [
                    "culvert", "LinuxNetworking", "IPAddressing", "SPIFFE", "Redirection", "NamespaceKit",
                    "SeededRandom", "KubernetesKit",
                ],
                swiftSettings: settings
            ),
        ],
    ].flatMap(\.self)
)
