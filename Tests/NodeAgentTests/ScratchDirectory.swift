import Glibc
import NamespaceKit
import Testing

/// A mesh file and an agent's directory, removed at the end.
final class ScratchDirectory: Sendable {
    let path: String
    var mesh: String { path + "/mesh.yaml" }
    var runDirectory: String { path + "/run" }
    /// Where the mesh file says that the first host's namespace is.
    var netns: String { path + "/netns" }

    init() throws {
        var template = Array("/tmp/culvert-agent-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
        path = String(cString: try #require(made))
    }

    deinit {
        for name in [
            "run/enrolled-namespaces", "run/cni.sock", "run/agent.lock", "run/xds.sock", "run/zds.sock", "mesh.yaml",
            "netns", "peer-netns",
        ] {
            unlink(path + "/" + name)
        }
        for name in records { unlink(runDirectory + "/pods/" + name) }
        for name in ["run/cni", "run/pods", "run", ""] { rmdir(path + "/" + name) }
    }

    var records: [String] {
        guard let directory = opendir(runDirectory + "/pods") else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// The hosts are the pods `web` and `peer` of this node; namespace `open` is never enrolled.
    func writeMesh(
        _ network: TestNetwork, isEnrolled: Bool = true, peerNamespace: String = "open", mode: String = "permissive"
    ) {
        let (web, peer) = (network.hosts[0], network.hosts[1])
        // Namespaces of a test have no names: their descriptors do.
        symlink("/proc/\(getpid())/fd/\(web.namespace.descriptor)", netns)
        symlink("/proc/\(getpid())/fd/\(peer.namespace.descriptor)", path + "/peer-netns")
        let text = """
            trustDomain: culvert.demo
            namespaces:
              - name: shop
                labels: {culvert.dev/mtls-enabled: "\(isEnrolled)"}
                mtlsMode: \(mode)
              - name: open
            pods:
              - uid: web-uid
                name: web
                namespace: shop
                node: node-a
                addresses: [\(web.v4), "\(web.v6)"]
                netns: \(netns)
              - uid: peer-uid
                name: peer
                namespace: \(peerNamespace)
                node: node-a
                addresses: [\(peer.v4), "\(peer.v6)"]
                netns: \(path)/peer-netns

            """
        let draft = mesh + ".new"
        guard let file = fopen(draft, "w") else { return }
        fputs(text, file)
        fclose(file)
        rename(draft, mesh)
    }
}
