import Glibc
import IPAddressing
import LinuxNetworking

/// The demo from its first namespace to its verdict. For one thread.
final class DemoRun {
    struct Options: Sendable {
        var isJSON = false
        var keeps = false
        var backend = CaptureBackend.nft
        var bulkBytes = 64 << 20
    }

    private let options: Options
    private let progress = DemoProgress()

    init(options: Options) { self.options = options }

    /// The process's exit code.
    func run() -> Int32 {
        Interruption.install()
        do {
            try Preflight.check()
            let directory = try RunDirectory()
            if try directory.removeLeftovers() { progress.say("removed what an earlier demo left behind") }
            return try run(in: directory)
        } catch {
            return report(error)
        }
    }

    private func run(in directory: RunDirectory) throws -> Int32 {
        defer {
            do {
                try directory.removeLeftovers()
                directory.remove()
            } catch {
                progress.warn("error: could not remove everything: \(error)")
            }
        }
        try directory.noteNamespaceDirectory()
        let network = try DemoNetwork(DemoTopology())
        let taps = try WireTaps(network)
        let mesh = try MeshProcesses(network: network, directory: directory, backend: options.backend)
        defer { mesh.stop() }
        try start(mesh, network)
        let report = try observe(mesh, network, taps)
        try show(report)
        if !report.passed { progress.write(mesh.logTails) }
        if options.keeps { try keep(mesh, network.topology) }
        return report.passed ? 0 : 1
    }

    private func start(_ mesh: MeshProcesses, _ network: DemoNetwork) throws {
        let pods = network.topology.pods
        let enrolled = pods.filter(\.isEnrolled).count
        progress.say("\(network.topology.nodes.count) nodes, \(pods.count) pods, \(enrolled) of them enrolled")
        progress.endPhase("network")
        try mesh.startPrograms()
        progress.say("programs in the pods: HTTP, echo and bulk servers that know nothing of Culvert")
        progress.endPhase("programs")
        try mesh.startAuthority()
        progress.say("authority: its own root and intermediate for \(DemoTopology.trustDomain)")
        try mesh.startAgents()
        try mesh.startProxies()
        try mesh.waitForProxies()
        progress.say("an agent and a proxy on each node: pods enrolled, certificates issued")
        progress.endPhase("culvert")
    }

    private func observe(_ mesh: MeshProcesses, _ network: DemoNetwork, _ taps: WireTaps) throws -> DemoReport {
        let traffic = DemoTraffic(network: network)
        let topology = network.topology
        let conversed = topology.pairs.first { $0.from == topology.client && $0.to == topology.store }!
        let conversation = try traffic.converse(conversed)
        defer { conversation.end() }
        var outcomes = try exchange(traffic)
        progress.say("traffic between all pairs, counted by \(taps.count) taps")
        progress.endPhase("traffic")
        outcomes[conversed, default: []].insert(traffic.outcome(of: conversation), at: 0)
        let records = try awaitRecords(mesh, topology.pairs)
        let pairs = topology.pairs.map { pair in
            PairReport(
                pair: pair, wire: taps.count(pair), records: records, outcomes: outcomes[pair] ?? [])
        }

        let outage = try endure(mesh, traffic, taps, conversation)
        progress.say("one proxy killed, then both: \(outage.refused) of \(outage.attempted) new connections refused")
        progress.endPhase("outage")
        let recovery = try recover(mesh, traffic, taps)
        progress.say("both proxies started again\(recovery.after == nil ? "" : ", traffic recovered")")
        progress.endPhase("recovery")
        return DemoReport(
            pairs: pairs, outage: outage, recovery: recovery, taps: taps.report, durations: progress.durations)
    }

    private func exchange(_ traffic: DemoTraffic) throws -> [DemoTopology.Pair: [ProgramOutcome]] {
        let topology = traffic.network.topology
        var outcomes: [DemoTopology.Pair: [ProgramOutcome]] = [:]
        for pair in topology.pairs {
            for program in pair.to.programs {
                switch program {
                case .http: outcomes[pair, default: []].append(try traffic.browse(pair, rounds: 5))
                case .sink:
                    // The same-node pair by IPv6, for the other half of the address families.
                    let isNear = pair.from.node == pair.to.node
                    let ip = isNear ? pair.to.address.v6 : pair.to.address.v4
                    let bytes = isNear ? options.bulkBytes / 4 : options.bulkBytes
                    outcomes[pair, default: []].append(try traffic.transfer(pair, to: ip, bytes: bytes))
                case .echo:
                    // The long-lived conversation.
                    break
                }
            }
        }
        return outcomes
    }

    /// A proxy writes a record when the connection ends, which may be a moment after the programs are done.
    private func awaitRecords(_ mesh: MeshProcesses, _ pairs: [DemoTopology.Pair]) throws -> [AccessRecord] {
        var records: [AccessRecord] = []
        _ = try Interruption.wait(atMost: .seconds(3)) {
            records = try mesh.accessRecords()
            return pairs.allSatisfy { pair in records.contains { $0.belongs(to: pair) } }
        }
        return records
    }

    /// First the proxy at the far end dies, so that the near one has to refuse; then the near one too.
    private func endure(
        _ mesh: MeshProcesses, _ traffic: DemoTraffic, _ taps: WireTaps, _ conversation: EchoConversation
    ) throws -> OutageReport {
        let pairs = traffic.network.topology.pairs.filter(\.isProtected)
        let before = taps.count(pairs)
        var report = OutageReport()
        let killed = ContinuousClock.now
        for node in traffic.network.topology.nodes.reversed() {
            mesh.killProxy(of: node)
            for _ in 0..<2 {
                try knock(traffic, pairs.flatMap(DemoTraffic.ways), &report)
                try Interruption.sleep(.milliseconds(200))
            }
        }
        _ = try Interruption.wait(atMost: .seconds(2)) { conversation.state.broken != nil }
        report.conversationBrokeAfter = conversation.state.broken.map { max(.zero, $0.at - killed) }
        report.plaintextBytes = taps.count(pairs).plaintext - before.plaintext
        return report
    }

    private func knock(_ traffic: DemoTraffic, _ ways: [DemoTraffic.Way], _ report: inout OutageReport) throws {
        for way in ways {
            try Interruption.check()
            report.attempted += 1
            let started = ContinuousClock.now
            switch traffic.attempt(way, limit: .seconds(3)) {
            case .answered: report.gotThrough.append("\(way)")
            case .failed:
                report.refused += 1
                report.slowestRefusal = max(report.slowestRefusal, .now - started)
            }
        }
    }

    private func recover(_ mesh: MeshProcesses, _ traffic: DemoTraffic, _ taps: WireTaps) throws -> RecoveryReport {
        var report = RecoveryReport()
        let started = ContinuousClock.now
        try mesh.startProxies()
        var waiting = traffic.network.topology.pairs.flatMap(DemoTraffic.ways)
        let recovered = try Interruption.wait(atMost: .seconds(20)) {
            while let way = waiting.first {
                try Interruption.check()
                try mesh.checkAlive()
                if case .failed(let reason) = traffic.attempt(way, limit: .seconds(2)) {
                    report.failure = "\(way): \(reason)"
                    return false
                }
                waiting.removeFirst()
            }
            return true
        }
        if recovered { report.after = .now - started }
        report.plaintextBytes = taps.count(traffic.network.topology.pairs.filter(\.isProtected)).plaintext
        return report
    }

    // MARK: - Output

    private func show(_ report: DemoReport) throws {
        let text = options.isJSON ? try report.json() : "\n" + report.text(Ink(for: STDOUT_FILENO))
        try TextFile.write(text, to: STDOUT_FILENO, "standard output")
    }

    private func keep(_ mesh: MeshProcesses, _ topology: DemoTopology) throws {
        let certificate = try mesh.writeClientCertificate(of: topology.client)
        progress.write("\n" + KeepInstructions(topology: topology, certificate: certificate).text + "\n")
        do {
            while true { try Interruption.sleep(.seconds(3600)) }
        } catch {
            // The user's way to end it.
            progress.say("stopping")
        }
    }

    private func report(_ error: any Error) -> Int32 {
        if let interrupted = error as? Interruption.Interrupted {
            progress.say("interrupted: everything is removed")
            return 128 + interrupted.signal
        }
        progress.warn("error: \(error)")
        if let error = error as? DemoError {
            if let hint = error.hint { progress.write("hint: \(hint)\n") }
            if let log = error.log { progress.write("\n\(log)\n") }
        }
        return 1
    }
}
