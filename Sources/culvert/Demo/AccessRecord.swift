import FoundationEssentials
import IPAddressing

/// What a proxy logged about one connection: one JSON line, `msg` "connection complete".
struct AccessRecord: Hashable, Sendable {
    let direction: String
    let security: String
    let source: IPAddress?
    let sourceIdentity: String?
    /// The peer pod's tunnel port, the application, or the plaintext destination.
    let destination: SocketAddress?
    /// The CONNECT authority: where the bytes went inside the tunnel.
    let tunnelled: SocketAddress?
    let destinationIdentity: String?
    let tlsVersion: String?
    let cipher: String?
    let bytesSent: UInt64
    let bytesReceived: UInt64
    let failure: String?

    var isMutualTLS: Bool { security == "mutual_tls" }

    /// The records in a proxy's log; lines that are none are passed over.
    static func parse(log: String) -> [AccessRecord] {
        log.split(separator: "\n").compactMap { AccessRecord(line: $0) }
    }

    /// `nil` for every other kind of line.
    init?(line: some StringProtocol) {
        guard line.first == "{", let fields = try? JSONDecoder().decode(Fields.self, from: Data(line.utf8)),
            fields.msg == "connection complete"
        else { return nil }
        direction = fields.direction
        security = fields.security
        source = fields.source.flatMap { SocketAddress($0)?.ip ?? IPAddress($0) }
        sourceIdentity = fields.sourceIdentity
        destination = fields.destination.flatMap { SocketAddress($0) }
        tunnelled = fields.tunnelled.flatMap { SocketAddress($0) }
        destinationIdentity = fields.destinationIdentity
        tlsVersion = fields.tlsVersion
        cipher = fields.cipher
        bytesSent = fields.bytesSent ?? 0
        bytesReceived = fields.bytesReceived ?? 0
        failure = fields.failure
    }

    private struct Fields: Decodable {
        let msg: String
        let direction: String
        let security: String
        let source: String?
        let sourceIdentity: String?
        let destination: String?
        let tunnelled: String?
        let destinationIdentity: String?
        let tlsVersion: String?
        let cipher: String?
        let bytesSent: UInt64?
        let bytesReceived: UInt64?
        let failure: String?

        enum CodingKeys: String, CodingKey {
            case msg
            case direction
            case security
            case source = "src.addr"
            case sourceIdentity = "src.identity"
            case destination = "dst.addr"
            case tunnelled = "dst.hbone_addr"
            case destinationIdentity = "dst.identity"
            case tlsVersion = "tls.version"
            case cipher = "tls.cipher"
            case bytesSent = "bytes_sent"
            case bytesReceived = "bytes_recv"
            case failure = "error"
        }
    }
}

extension AccessRecord {
    /// Of a connection that a program in `pair.from` made to `pair.to`.
    func belongs(to pair: DemoTopology.Pair) -> Bool {
        guard let source, pair.from.address.contains(source), let target = tunnelled ?? destination else {
            return false
        }
        return pair.to.answers(to: target.ip)
    }
}
