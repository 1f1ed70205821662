import Glibc
import Testing

@testable import culvert

/// The demo's network under names of this process's own, so that it stands beside a demo, with taps on every pod.
struct DemoScene {
    let directory: RunDirectory
    let network: DemoNetwork
    let taps: WireTaps
    let prefix: String

    init(_ name: String) throws {
        prefix = "cvt-\(name)-\(getpid())-"
        directory = try RunDirectory(path: "/tmp/cvt-\(name)-\(getpid())")
        do {
            try directory.noteNamespaceDirectory()
            network = try DemoNetwork(DemoTopology(prefix: prefix))
            taps = try WireTaps(network)
        } catch {
            Self.remove(directory, prefix)
            throw error
        }
    }

    /// The demo's programs, authority, agents and proxies, from when every proxy serves until `stop`. `startProxies` is for proxies that
    /// are not the demo's own.
    func startMesh(
        authority options: [String] = [], backend: CaptureBackend = .nft,
        startProxies: (MeshProcesses) throws -> Void = { try $0.startProxies() }
    ) throws -> MeshProcesses {
        let mesh = try MeshProcesses(
            network: network, directory: directory, executable: try #require(culvertBinary), backend: backend)
        do {
            try mesh.startPrograms()
            try mesh.startAuthority(options)
            try mesh.startAgents()
            try startProxies(mesh)
            try mesh.waitForProxies()
        } catch {
            mesh.stop()
            throw error
        }
        return mesh
    }

    /// To be called once, when nothing runs in it any more.
    func remove() { Self.remove(directory, prefix) }

    private static func remove(_ directory: RunDirectory, _ prefix: String) {
        _ = try? directory.removeLeftovers(namespacePrefix: prefix)
        directory.remove()
    }
}
