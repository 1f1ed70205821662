import Glibc
public import PostgreSQL
import Synchronization

/// A real PostgreSQL in a temporary directory, run as the user `postgres` where we are root; on a Unix socket without a password, and on a
/// port of 127.0.0.1 with TLS, for user `culvert` with `password`.
///
/// A shell stands between it and us and ends it, directory and all, when we are gone, however we went.
public final class TestDatabaseServer: Sendable {
    public enum Failure: Error, CustomStringConvertible {
        case notStarted(String)

        public var description: String {
            switch self {
            case .notStarted(let log): "PostgreSQL does not start (`make deps` installs it):\n\(log)"
            }
        }
    }

    public static let password = "between/us@two"

    private static let sharedServer = Mutex<TestDatabaseServer?>(nil)

    /// The one for all tests that only want a database: started when first asked for.
    public static func shared() throws -> TestDatabaseServer {
        try sharedServer.withLock { server in
            if let server { return server }
            let started = try TestDatabaseServer()
            server = started
            return started
        }
    }

    public let directory: String
    public let port: UInt16
    private let supervisor: pid_t
    /// While it is open, the server lives.
    private let lifeline: Int32
    private let made = Mutex(0)

    /// `isDurable`: what is committed is on the disk, as in earnest. `smallDisk`: KiB of a disk of its own at `directory/small`, which is
    /// there for the server only; needs root.
    public init(isDurable: Bool = false, smallDisk: Int? = nil) throws {
        var template = Array("/tmp/culvert-database-XXXXXX".utf8CString)
        directory = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        port = Self.freePort()
        var pipe: [Int32] = [-1, -1]
        guard Glibc.pipe(&pipe) == 0 else { throw Failure.notStarted("no pipe: errno \(errno)") }
        // No other child may keep the server alive.
        for end in pipe { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        lifeline = pipe[1]
        supervisor = try Self.spawn(
            [directory, "\(port)", isDurable ? "on" : "off", Self.password] + (smallDisk.map { ["\($0)"] } ?? []),
            isApart: smallDisk != nil, lifeline: pipe[0])
        close(pipe[0])
        try awaitReady()
    }

    deinit {
        close(lifeline)
        waitpid(supervisor, nil, 0)
    }

    private static let script = """
        dir=$1 port=$2 fsync=$3
        bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
        as=
        if [ "$(id -u)" = 0 ]; then
            chown postgres "$dir"
            as="setpriv --reuid postgres --regid postgres --clear-groups --inh-caps=-all"
        fi
        if [ -n "${5-}" ]; then
            mkdir "$dir/small"
            mount -t tmpfs -o "size=${5}k" tmpfs "$dir/small"
            chown postgres "$dir/small"
        fi
        cd "$dir"
        exec >"$dir/log" 2>&1
        printf '%s' "$4" >"$dir/password"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/server.key" -out "$dir/server.pem" \
            -days 2 -subj /CN=database -addext subjectAltName=IP:127.0.0.1
        chmod 600 "$dir/server.key"
        chmod 644 "$dir/password" "$dir/server.pem"
        [ -z "$as" ] || chown postgres "$dir/server.key"
        $as "$bin/initdb" --pgdata "$dir/data" --username culvert --encoding UTF8 --locale C --no-sync \
            --auth-local trust --auth-host scram-sha-256 --pwfile "$dir/password" || exit 1
        start() {
            $as "$bin/postgres" -D "$dir/data" -c port="$port" -c listen_addresses=127.0.0.1 \
                -c unix_socket_directories="$dir" -c fsync="$fsync" -c full_page_writes="$fsync" \
                -c recovery_init_sync_method=syncfs -c shared_buffers=32MB \
                -c max_connections=200 -c ssl=on -c ssl_cert_file="$dir/server.pem" -c ssl_key_file="$dir/server.key" \
                -c max_wal_size=128MB 3<&- &
            pid=$!
            echo $pid >"$dir/pid"
        }
        start
        while read -r word <&3; do
            case $word in
            stop) kill -INT $pid; wait $pid ;;
            crash) kill -QUIT $pid; wait $pid ;;
            start) start ;;
            esac
            : >"$dir/done"
        done
        kill -QUIT $pid
        wait $pid
        cd /
        rm -rf "$dir"
        """

    /// `isApart`: what it mounts goes with it.
    private static func spawn(_ arguments: [String], isApart: Bool, lifeline: Int32) throws -> pid_t {
        let words =
            ((isApart ? ["unshare", "-m"] : []) + ["sh", "-c", script, "sh"] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor in [Int32(0), 1, 2] {
            posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        posix_spawn_file_actions_adddup2(&actions, lifeline, 3)
        var pid: pid_t = 0
        let path = strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        defer { free(path) }
        guard posix_spawn(&pid, isApart ? "/usr/bin/unshare" : "/bin/sh", &actions, nil, words, [path, nil]) == 0 else {
            throw Failure.notStarted("no shell: errno \(errno)")
        }
        return pid
    }

    private static func freePort() -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, size)
                getsockname(descriptor, $0, &size)
            }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    private func awaitReady() throws {
        for _ in 0..<1200 {
            if (try? administer { _ in }) != nil { return }
            guard waitpid(supervisor, nil, WNOHANG) == 0 else { break }
            usleep(50_000)
        }
        throw Failure.notStarted(log)
    }

    public var log: String {
        guard let file = fopen("\(directory)/log", "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    // MARK: Outages

    /// As its operator would stop it: connections are ended, what is under way is undone.
    public func stop() { tell("stop") }
    /// As a failing machine would: no word to anybody, no checkpoint.
    public func crash() { tell("crash") }

    /// After one of the others; returns when connections are taken again.
    public func start() throws {
        tell("start")
        try awaitReady()
    }

    private func tell(_ word: String) {
        unlink("\(directory)/done")
        _ = (word + "\n").withCString { write(lifeline, $0, strlen($0)) }
        while access("\(directory)/done", F_OK) != 0 { usleep(10_000) }
    }

    // MARK: Databases

    /// The URL of a database, over the Unix socket.
    public func url(_ database: String) -> String {
        "postgresql://culvert@/\(database)?host=\(directory)&port=\(port)"
    }

    fileprivate func make() throws -> String {
        try made.withLock { count in
            count += 1
            let name = "test\(count)"
            try administer { try $0.executeText("CREATE DATABASE \(name)") }
            return name
        }
    }

    fileprivate func drop(_ name: String) {
        _ = try? administer { try $0.executeText("DROP DATABASE IF EXISTS \(name) WITH (FORCE)") }
    }

    private func administer(_ body: (PostgreSQLConnection) throws -> Void) throws {
        try body(
            PostgreSQLConnection(PostgreSQLAddress(url("postgres")), answerTimeout: .seconds(60)))
    }
}

/// An empty database that goes with the last reference.
public final class TestDatabase: Sendable {
    public let server: TestDatabaseServer
    public let name: String
    public let url: String
    public let address: PostgreSQLAddress

    public init(on server: TestDatabaseServer? = nil) throws {
        self.server = try server ?? .shared()
        name = try self.server.make()
        url = self.server.url(name)
        address = try PostgreSQLAddress(url)
    }

    deinit { server.drop(name) }

    /// Runs SQL as somebody else would who may do everything.
    public func execute(_ statements: String) throws {
        let connection = try PostgreSQLConnection(
            address, settings: [("search_path", "culvert, public")], answerTimeout: .seconds(60))
        try connection.executeText(statements)
    }
}
