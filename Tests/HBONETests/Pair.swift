import HBONE

/// A client and a server joined by memory.
final class Pair {
    let client: Endpoint
    let server: Endpoint
    /// How many bytes to deliver at once; given the direction and how many bytes went that way before.
    var piece: (_ toServer: Bool, _ before: Int) -> Int = { _, _ in .max }
    private(set) var bytesToServer = 0
    private(set) var bytesToClient = 0

    static let clientContext = TestIdentity.web.context(.client)
    static let serverContext = TestIdentity.api.context(.server)

    init(
        client: TLSContext = Pair.clientContext, server: TLSContext = Pair.serverContext,
        clientLimits: HBONELimits = HBONELimits(), serverLimits: HBONELimits = HBONELimits()
    ) {
        self.client = Endpoint(role: .client, context: client, limits: clientLimits)
        self.server = Endpoint(role: .server, context: server, limits: serverLimits)
    }

    /// Until neither has anything to say.
    @discardableResult
    func run() -> Pair {
        while true {
            let up = deliver(client, server, true, &bytesToServer)
            let down = deliver(server, client, false, &bytesToClient)
            if !up, !down { return self }
        }
    }

    private func deliver(_ from: Endpoint, _ to: Endpoint, _ toServer: Bool, _ total: inout Int) -> Bool {
        let bytes = from.speak()
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = rest.prefix(max(1, piece(toServer, total)))
            rest = rest.dropFirst(part.count)
            total += part.count
            to.receive(part)
        }
        return !bytes.isEmpty
    }

    /// Opens a stream and lets the server answer.
    func open(_ authority: String = "10.0.0.1:8080") -> Int32 {
        let stream = client.connect(ConnectRequest(authority: authority))
        run()
        return stream
    }
}
