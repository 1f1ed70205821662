import IPAddressing
import LinuxNetworking

/// The client side of the demo's programs: plain connections made inside the pods.
struct DemoTraffic {
    let network: DemoNetwork
    /// Of one connection attempt, and of each read and write.
    static let limit = Duration.seconds(10)

    private var topology: DemoTopology { network.topology }

    func connect(
        from pod: DemoTopology.Pod, to address: SocketAddress, limit: Duration = limit
    ) throws -> BlockingSocket {
        try network[pod].run { try BlockingSocket.connect(to: address, limit: limit) }
    }

    /// By service address where the pod has one, and by pod address; IPv4 and IPv6. A pod outside the mesh knows no
    /// service addresses: those are the proxy's work here.
    func webAddresses(_ pair: DemoTopology.Pair) -> [SocketAddress] {
        let direct = pair.to.address.both.map { SocketAddress($0, port: DemoTopology.Program.http.port) }
        guard pair.isProtected, let service = pair.to.service,
            let port = service.ports.first(where: { $0.target == DemoTopology.Program.http.port })
        else { return direct }
        return service.addresses.both.map { SocketAddress($0, port: port.port) } + direct
    }

    /// `rounds` requests to each address.
    func browse(_ pair: DemoTopology.Pair, rounds: Int) throws -> ProgramOutcome {
        var outcome = ProgramOutcome("HTTP")
        for _ in 0..<rounds {
            for address in webAddresses(pair) {
                try Interruption.check()
                outcome.attempted += 1
                do {
                    let reply = try HTTPProbe(address: address).run(over: connect(from: pair.from, to: address))
                    guard reply.status == 200 else {
                        outcome.failed("status \(reply.status) from \(address)")
                        continue
                    }
                    outcome.succeeded += 1
                    outcome.bytes += reply.bytes
                    if let peer = reply.peerSeen { outcome.saw(peer) }
                } catch let interrupted as Interruption.Interrupted {
                    throw interrupted
                } catch {
                    outcome.failed("\(address): \(error)")
                }
            }
        }
        outcome.summary = "HTTP 200 OK ×\(outcome.succeeded)"
        return outcome
    }

    func transfer(_ pair: DemoTopology.Pair, to ip: IPAddress, bytes: Int) throws -> ProgramOutcome {
        var outcome = ProgramOutcome("bulk")
        outcome.attempted = 1
        let started = ContinuousClock.now
        do {
            let address = SocketAddress(ip, port: DemoTopology.Program.sink.port)
            try BulkTransfer(bytes: bytes).run(over: connect(from: pair.from, to: address))
            outcome.succeeded = 1
            outcome.bytes = UInt64(2 * bytes)
            let took = Quantity.duration(.now - started)
            outcome.summary = "\(Quantity.bytes(UInt64(bytes))) each way in \(took), SHA-256 equal"
        } catch let interrupted as Interruption.Interrupted {
            throw interrupted
        } catch {
            outcome.failed("\(error)")
        }
        return outcome
    }

    /// To the service's address: the proxy picks the pod.
    func converse(_ pair: DemoTopology.Pair) throws -> EchoConversation {
        let service = pair.to.service!
        let port = service.ports.first { $0.target == DemoTopology.Program.echo.port }!.port
        return try EchoConversation(over: connect(from: pair.from, to: SocketAddress(service.addresses.v4, port: port)))
    }

    func outcome(of conversation: EchoConversation) -> ProgramOutcome {
        let state = conversation.state
        var outcome = ProgramOutcome("echo")
        outcome.attempted = 1
        outcome.bytes = state.bytes
        outcome.summary = "echo: \(state.linesEchoed) lines on one connection, still open"
        if let broken = state.broken {
            outcome.failed(broken.reason)
        } else if state.linesEchoed == 0 {
            outcome.failed("no line came back")
        } else {
            outcome.succeeded = 1
        }
        return outcome
    }
}
