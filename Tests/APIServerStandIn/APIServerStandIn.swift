import ArgumentParser
import FoundationEssentials
import Glibc
import KubernetesKit
import NIOPosix
import UnixSignals

/// The stand-in as a process of its own: for people, and for network namespaces.
@main
struct APIServerStandIn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api-server-stand-in", abstract: "A Kubernetes API server in memory, for tests.",
        discussion: """
            Prints one line of JSON when it listens, and runs until SIGTERM or the end of its input. Lines on its input are
            commands, each answered with one line, "ok" or "error: WHY":

              confirm NAMESPACE POD       the kubelet has stopped the pod
              end-watches | cut-watches   in order, or in the middle of an event
              bookmarks | compact         tell the version; forget the changes so far (410)
              refuse CODE TIMES           answer so many requests with an error
              stall | clear               answer nothing until "clear"
              advance SECONDS             put the clock forward
              suspend | resume            close the port and every connection; listen again
              requests                    one line of JSON with all requests so far
              rules                       one line of JSON with the RBAC rules that were used
              load PODS SERVICES          a cluster of that size; answered with the bytes that a pod has
              change RATE SECONDS FILE    so many changes a second of it; FILE is told "WHAT POD-UID NANOSECONDS" of each, the
                                          time when it was committed by CLOCK_MONOTONIC

            Example: api-server-stand-in --kubeconfig /tmp/k & sleep 1; KUBECONFIG=/tmp/k kubectl get namespaces
            """)

    @Option(help: "Address and port; port 0 is any.")
    var listen = "127.0.0.1:0"

    @Option(help: "Further names and addresses that the certificate is for.")
    var host: [String] = []

    @Option(help: "Where the administrator's kubeconfig (client certificate) is written.")
    var kubeconfig = "kubeconfig"

    @Option(help: "Where a kubeconfig with a bearer token is written, as FILE=USER[,GROUP…].")
    var tokenKubeconfig: [String] = []

    @Option(help: "YAML files whose objects are there from the start.")
    var seed: [String] = []

    @Flag(help: "Pods go as soon as they are deleted; without it, when \"confirm\" says so.")
    var immediateDeletion = false

    @Flag(help: "Speak HTTP/1.1 only.")
    var withoutHTTP2 = false

    @Flag(help: "Keep running when the input ends.")
    var ignoresInput = false

    func run() async throws {
        signal(SIGPIPE, SIG_IGN)
        guard let colon = listen.lastIndex(of: ":"), let port = Int(listen[listen.index(after: colon)...]) else {
            throw ValidationError("--listen wants ADDRESS:PORT, such as 127.0.0.1:0")
        }
        var configuration = APIServer.Configuration()
        configuration.host = String(listen[..<colon])
        configuration.port = port
        configuration.alternativeHosts = host
        configuration.hasHTTP2 = !withoutHTTP2
        configuration.kubelet = immediateDeletion ? .immediate : .confirmed
        let server = try await APIServer.start(configuration)
        for file in seed { try server.create(yaml: try String(contentsOfFile: file, encoding: .utf8)) }
        try write(try server.kubeconfig(), to: kubeconfig)
        for option in tokenKubeconfig {
            let parts = option.split(separator: "=", maxSplits: 1)
            let names = parts.last?.split(separator: ",").map(String.init) ?? []
            guard parts.count == 2, let name = names.first else {
                throw ValidationError("--token-kubeconfig wants FILE=USER[,GROUP…]")
            }
            let token = "\(name)-token"
            server.addToken(
                token, for: User(name: name, groups: names.dropFirst() + ["system:authenticated"]))
            try write(try server.kubeconfig(.token(token)), to: String(parts[0]))
        }
        let ready: JSON = ["ready": true, "url": .string(server.url), "kubeconfig": .string(kubeconfig)]
        say(ready.text)
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in signals { return } }
            if !ignoresInput {
                group.addTask {
                    var load: ClusterLoad?
                    while let line = await Self.line() { say(await answer(line, server, &load)) }
                }
            }
            await group.next()
            group.cancelAll()
            await server.stop()
            // A read of the input cannot be called off.
            Glibc.exit(0)
        }
    }

    private func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
        chmod(path, 0o600)
    }

    private func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    private static func line() async -> String? {
        (try? await NIOThreadPool.singleton.runIfActive { readLine() }) ?? nil
    }

    private func answer(_ line: String, _ server: APIServer, _ load: inout ClusterLoad?) async -> String {
        let words = line.split(separator: " ").map(String.init)
        do {
            switch (words.first, words.count) {
            case ("confirm", 3): try server.confirmPodDeletion(words[1], words[2])
            case ("end-watches", 1): server.endWatches()
            case ("cut-watches", 1): server.cutWatches()
            case ("bookmarks", 1): server.sendBookmarks()
            case ("compact", 1): server.compact()
            case ("refuse", 3):
                server.faults.add(Fault(.refuse(code: Int(words[1]) ?? 500), times: Int(words[2]) ?? 1))
            case ("stall", 1): server.faults.add(Fault(.stall))
            case ("clear", 1): server.faults.clear()
            case ("advance", 2): server.clock.advance(seconds: Double(words[1]) ?? 0)
            case ("suspend", 1): await server.suspend()
            case ("resume", 1): try await server.resume()
            case ("requests", 1):
                return JSON.array(
                    server.requests.map {
                        [
                            "verb": .string($0.verb), "path": .string($0.path), "user": .string($0.user),
                            "code": .integer($0.code),
                        ]
                    }
                ).text
            case ("rules", 1):
                return JSON.array(
                    server.usedRules.map {
                        [
                            "role": .string($0.role), "index": .integer($0.index), "verb": .string($0.verb),
                            "resource": .string($0.resource),
                        ]
                    }
                ).text
            case ("load", 3):
                let cluster = try ClusterLoad(pods: Int(words[1]) ?? 0, services: Int(words[2]) ?? 0)
                load = cluster
                return try JSON.object(["podBytes": .integer(server.load(cluster))]).text
            case ("change", 4):
                guard var cluster = load, let rate = Int(words[1]), rate > 0, let seconds = Int(words[2]) else {
                    return "error: nothing is loaded, or no such rate: \(line)"
                }
                let changes = try await server.change(&cluster, count: rate * seconds, perSecond: rate)
                load = cluster
                try Data(changes.map { $0.text + "\n" }.joined().utf8).write(to: URL(filePath: words[3]))
            default: return "error: no such command: \(line)"
            }
            return "ok"
        } catch {
            return "error: \(error)"
        }
    }
}
