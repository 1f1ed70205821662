import ArgumentParser
import LinuxNetworking

/// `culvert demo`
struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Shows Culvert at work on this machine: two nodes, four pods, in network namespaces.",
        discussion: """
            Unmodified programs talk to each other while taps count what crosses every pod's interface. Then the proxies are
            killed, to show that nothing leaks, and started again. Takes less than a minute, needs root, and leaves nothing
            behind. Exit code 0 when everything held, 1 when something did not.

            EXAMPLES
              culvert demo                 the table and the verdict
              culvert demo --json | jq .   the same for programs
              culvert demo --backend ebpf  captures connections where they are made
              culvert demo --keep          leaves it running, to look around in the pods
            """
    )

    @Flag(help: "Print one JSON document on standard output.")
    var json = false

    @Flag(help: "Leave everything running until Ctrl-C, and print commands to try.")
    var keep = false

    @Option(help: "How connections are captured: nft, ebpf, or auto, which is ebpf where the kernel is able to.")
    var backend = CaptureBackend.nft

    func run() async throws {
        let options = DemoRun.Options(isJSON: json, keeps: keep, backend: backend)
        // The demo blocks and moves its thread between namespaces: not for a thread of the pool.
        let code = try await withCheckedThrowingContinuation { continuation in
            do {
                _ = try SystemThread(name: "demo") { continuation.resume(returning: DemoRun(options: options).run()) }
            } catch {
                continuation.resume(throwing: error)
            }
        }
        if code != 0 { throw ExitCode(code) }
    }
}
