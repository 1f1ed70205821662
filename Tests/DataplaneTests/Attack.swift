import Glibc
import HTTP2Frames
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Testing

@testable import Dataplane

/// What a member of the mesh, or whoever reaches 15008, may try; how that ends, and what it may cost us.
struct Attack: Sendable, CustomTestStringConvertible {
    enum Answer: Equatable {
        case goAway(UInt32)
        /// RST of one stream or several.
        case streamsReset(UInt8)
        /// Of the TCP connection, in order or by RST.
        case closed
    }

    /// At most, the client beside it and the servers of the test included.
    struct Cost {
        /// On a CPU, of the victim's event loop.
        var time: Duration = .seconds(1)
        /// More than before, at any moment.
        var descriptors = 16
        var mebibytes = 16
    }

    struct Outcome: Sendable {
        var frames: [Frame] = []
        var end: Attacker.End
        /// In bytes.
        var sent: Int
        /// What the attacker spent in TLS and in the kernel.
        var time: Duration
        /// Frames, connections or bytes that the attacker had to send.
        var units = 0

        init(_ attacker: Attacker, units: Int, frames: [Frame] = []) {
            self.frames = frames
            self.units = units
            (end, sent, time) = (attacker.end, attacker.sent, attacker.time)
        }
    }

    let testDescription: String
    let answer: Answer
    let kind: ConnectionFailure.Kind
    /// In the record.
    let reason: String
    var cost = Cost()
    var configure: @Sendable (inout DataplaneConfiguration) -> Void = { _ in }
    /// Returns what the server said.
    let attempt: @Sendable (Target) throws -> Outcome

    struct Target: Sendable {
        let mesh: TestMesh
        let ports: (echo: UInt16, endless: UInt16, deaf: UInt16, curt: UInt16) = (8080, 8081, 8082, 8083)

        func authority(_ port: UInt16) -> String { "\(SocketAddress(mesh.server.host.v4, port: port))" }

        /// TCP only.
        func dial() throws -> Attacker {
            try Attacker(from: mesh.outsider, to: SocketAddress(mesh.server.host.v4, port: ReservedPort.hbone))
        }

        /// Whoever dials now is reset.
        func isRefusedUnread() throws -> Bool {
            do {
                let attacker = try dial()
                attacker.awaitEnd()
                return attacker.end == .reset
            } catch let error as Errno where error.code == ECONNRESET {
                return true
            }
        }

        func member() throws -> Attacker {
            let attacker = try dial()
            try attacker.authenticate(mesh.trust.svid(namespace: "shop", serviceAccount: "client"))
            return attacker
        }

        func servers() throws -> [TestServer] {
            let host = mesh.server.host
            return try [
                TestProgram.echoServer(on: host, port: ports.echo),
                TestProgram.endlessServer(on: host, port: ports.endless),
                TestProgram.deafServer(on: host, port: ports.deaf), TestProgram.curtServer(on: host, port: ports.curt),
            ]
        }

        /// The victim's kernel holds little for those who do not read: the proxy has to.
        func shrinkSocketBuffers() throws {
            try mesh.server.host.namespace.run {
                for name in ["rmem", "wmem"] { try Sysctl.write("net/ipv4/tcp_\(name)", "4096 16384 65536") }
            }
        }

        /// Sends the frames that `make` names until the server has had enough.
        ///
        /// Each batch is one TLS record, and what follows it waits until the server has looked at it: a server that closes a
        /// connection with bytes unread resets it, and its last words are lost.
        func flood(
            upTo count: Int, opening: [Frame] = [], batch: Int = 100, waits: Bool = true, acknowledges: Bool = true,
            _ make: (UInt32) -> [UInt8]
        ) throws -> Outcome {
            let attacker = try member()
            attacker.greet(acknowledges: acknowledges)
            for frame in opening { attacker.send(frame.bytes) }
            var sent = 0
            while sent < count {
                var bytes: [UInt8] = []
                for index in sent..<sent + batch { bytes += make(UInt32(index)) }
                sent += batch
                guard attacker.send(waits ? bytes + Target.question : bytes) else { break }
                guard waits else { continue }
                let said = attacker.answer { $0.contains { $0.type == 6 && $0.payload == Target.question.suffix(8) } }
                guard attacker.end == .none, !said.contains(where: { $0.goAwayCode != nil }) else { break }
                attacker.forget()
            }
            return outcome(attacker, units: sent)
        }

        private static let question = Frame(type: 6, payload: Array("answered".utf8)).bytes

        func outcome(_ attacker: Attacker, units: Int, until enough: ([Frame]) -> Bool = { _ in false }) -> Outcome {
            let frames = attacker.answer(until: enough)
            return Outcome(attacker, units: units, frames: frames)
        }
    }
}
