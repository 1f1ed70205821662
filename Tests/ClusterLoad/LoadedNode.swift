import AsyncHTTPClient
import FoundationEssentials
import Glibc
import KubernetesKit
import NIOCore

/// A node of a large cluster, each part a process of its own: an API server that holds the cluster, an authority, the node's agent
/// and its proxy. Nobody's pods are on the node.
final class LoadedNode {
    static let trustDomain = "cluster.local"
    private static let (authorityPort, attestationPort, healthPort, metricsPort) = (15012, 15011, 15022, 15020)

    let server: APIServerProcess
    private let directory: String
    private let culvert: String
    /// Of loopback, and nobody else's, so that the proxy's fixed ports are free.
    private let host: String
    private var processes: [ChildProcess] = []

    /// `programs` is the directory of `culvert` and the API server, which listens when this returns.
    static func start(programs: String) async throws -> LoadedNode {
        var template = Array("/tmp/culvert-load-XXXXXX".utf8CString)
        let directory = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        for name in ["run", "ca", "state"] { mkdir("\(directory)/\(name)", 0o700) }
        let server = try await APIServerProcess.start("\(programs)/api-server-stand-in", directory: directory)
        return LoadedNode(directory, server, culvert: "\(programs)/culvert")
    }

    private init(_ directory: String, _ server: APIServerProcess, culvert: String) {
        (self.directory, self.server, self.culvert) = (directory, server, culvert)
        let number = Int(getpid())
        host = "127.\(64 + number >> 14 & 63).\(number >> 7 & 127).\(1 + number & 127)"
    }

    /// Nothing is left of it.
    func stop() async {
        for process in processes.reversed() { await process.stop() }
        await server.stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    var discoverySocket: String { file("run/xds.sock") }
    func file(_ name: String) -> String { "\(directory)/\(name)" }
    func exists(_ name: String) -> Bool { access(file(name), F_OK) == 0 }

    /// The last lines of what everybody logged.
    var logs: String {
        processes.map { process in
            let text = process.log.flatMap { try? String(contentsOfFile: $0, encoding: .utf8) } ?? ""
            let lines = text.split(separator: "\n").suffix(8).joined(separator: "\n")
            return "\n\(process.name)\(process.isRunning ? "" : ", which has ended"):\n\(lines)"
        }.joined()
    }

    // MARK: - Starting

    private func start(_ name: String, _ arguments: [String], until isReady: () async -> Bool) async throws
        -> ChildProcess
    {
        let process = try ChildProcess([culvert] + arguments, log: file("\(name).log"))
        processes.append(process)
        try await wait(for: "\(name) to start") {
            guard process.isRunning else { throw Failure("\(name) has ended") }
            return await isReady()
        }
        return process
    }

    func startAuthority() async throws {
        let mesh = "trustDomain: \(Self.trustDomain)\nnamespaces: []\npods: []\nservices: []\n"
        try Data(mesh.utf8).write(to: URL(filePath: file("mesh.yaml")))
        let admin = file("ca.sock")
        _ = try await start(
            "ca",
            [
                "ca", "serve", "--data", file("ca"), "--mesh", file("mesh.yaml"), "--admin-socket", admin,
                "--listen", "\(host):\(Self.authorityPort)", "--attest-listen", "\(host):\(Self.attestationPort)",
            ]
        ) { exists("ca.sock") && exists("ca/bundle.pem") }
        let command = ["ca", "token", "create", "--node", APIServer.loadedNode, "--admin-socket", admin]
        let process = try ChildProcess([culvert] + command)
        let token = try await process.line()
        guard let token, await process.waitForEnd(atMost: .seconds(60)), process.succeeded else {
            throw Failure("`culvert ca token create` has failed")
        }
        try Data((token + "\n").utf8).write(to: URL(filePath: file("token")))
    }

    /// Started, and proxies can connect; they are told of the mesh once the cluster is known.
    func startAgent() async throws -> ChildProcess {
        try await start(
            "agent",
            [
                "agent", "run", "--kubeconfig", server.kubeconfig, "--node", APIServer.loadedNode,
                "--own-namespace", APIServer.loadedSystemNamespace, "--run-dir", file("run"),
                "--trust-domain", Self.trustDomain, "--backend", "nft", "--probes", "off", "--on-exit", "remove",
                "--health-listen", "\(host):\(Self.healthPort)",
            ]
        ) { exists("run/zds.sock") }
    }

    /// Started, and its metrics page answers.
    func startProxy() async throws -> ChildProcess {
        try await start(
            "proxy",
            [
                "proxy", "run", "--node", APIServer.loadedNode, "--trust-domain", Self.trustDomain,
                "--run-dir", file("run"), "--state-dir", file("state"), "--admin-listen", host,
                "--ca", "\(host):\(Self.authorityPort)", "--ca-attest", "\(host):\(Self.attestationPort)",
                "--ca-bundle", file("ca/bundle.pem"), "--join-token-file", file("token"),
            ]
        ) { await proxyMetric("culvert_xds_responses_total") != nil }
    }

    // MARK: - What they say

    func agentMetric(_ series: String) async -> Int? { await metric(series, Self.healthPort) }
    func proxyMetric(_ series: String) async -> Int? { await metric(series, Self.metricsPort) }

    private func metric(_ series: String, _ port: Int) async -> Int? {
        let request = HTTPClientRequest(url: "http://\(host):\(port)/metrics")
        guard let response = try? await HTTPClient.shared.execute(request, timeout: .seconds(10)),
            let body = try? await response.body.collect(upTo: 1 << 20)
        else { return nil }
        let line = String(buffer: body).split(separator: "\n").first { $0.hasPrefix(series + " ") }
        return line?.split(separator: " ").last.flatMap { Int($0) }
    }

    /// For as long as a large cluster may take on a slow machine.
    func wait(for what: String, _ condition: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(240)
        while try await !condition() {
            guard .now < end else { throw Failure("waited in vain for \(what)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
