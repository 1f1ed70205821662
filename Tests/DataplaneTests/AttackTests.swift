import Glibc
import HBONE
import HTTP2Frames
import IPAddressing
import MeshState
import NamespaceKit
import Testing

@testable import Dataplane

/// Members of the mesh, or whoever reaches 15008, that mean harm. Each attack ends within a bound by an answer of ours while the
/// attacker would go on, and a client beside it hardly notices.
@Suite(
    "An attack on 15008", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(1))
)
struct AttackTests {
    private static func ping(_ index: UInt32) -> [UInt8] {
        Frame(type: 6, payload: Frame.word(index) + Frame.word(index)).bytes
    }

    static let floods = [
        Attack(
            testDescription: "rapid reset", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "requests that are denied"
        ) { target in
            try target.flood(upTo: 20_000) { index in
                let stream = 2 * index + 1
                return Frame.connect(stream, to: target.authority(target.ports.curt)).bytes + Frame.reset(stream).bytes
            }
        },
        Attack(
            testDescription: "CONTINUATION without end", answer: .closed, kind: .http2, reason: "CONTINUATION"
        ) { target in
            // Nothing can be asked inside a header block.
            try target.flood(upTo: 100_000, opening: [Frame(type: 1, stream: 1, payload: [0x88])], waits: false) { _ in
                Frame(type: 9, stream: 1, payload: [0x88]).bytes
            }
        },
        Attack(
            testDescription: "SETTINGS", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "without effect"
        ) { try $0.flood(upTo: 5000) { _ in Frame(type: 4).bytes } },
        Attack(
            testDescription: "PING", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "too many PINGs"
        ) { try $0.flood(upTo: 20_000, Self.ping) },
        Attack(
            testDescription: "empty DATA", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "without effect"
        ) { target in
            let opening = Frame.connect(1, to: target.authority(target.ports.echo))
            return try target.flood(upTo: 5000, opening: [opening]) { _ in Frame.data(1, []).bytes }
        },
        Attack(
            testDescription: "frames that nobody knows", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "without effect"
        ) { try $0.flood(upTo: 5000) { _ in Frame(type: 0xee, payload: [1, 2, 3]).bytes } },
        Attack(
            testDescription: "streams beyond the limit", answer: .goAway(HTTP2ErrorCode.protocolError), kind: .http2,
            reason: "max concurrent streams", cost: .init(descriptors: 450)
        ) { target in
            try target.flood(upTo: 500) { Frame.connect(2 * $0 + 1, to: target.authority(target.ports.deaf)).bytes }
        },
        Attack(
            testDescription: "streams beyond a limit that it never acknowledges, of whose refusals it reads nothing",
            answer: .closed, kind: .http2, reason: "asks for more than it reads", cost: .init(descriptors: 450)
        ) { target in
            try target.flood(upTo: 100_000, waits: false, acknowledges: false) {
                Frame.connect(2 * $0 + 1, to: target.authority(target.ports.deaf)).bytes
            }
        },
        Attack(
            testDescription: "requests that are denied", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "requests that are denied"
        ) { target in
            try target.flood(upTo: 20_000) { Frame.connect(2 * $0 + 1, to: "10.9.9.9:80", ends: true).bytes }
        },
        Attack(
            testDescription: "a header bomb", answer: .goAway(HTTP2ErrorCode.enhanceYourCalm), kind: .http2,
            reason: "without measure"
        ) { target in
            // A field of 4000 bytes put into the table (RFC 7541 6.2.1), then named by one byte each time.
            let field: [UInt8] = [0x40, 1, UInt8(ascii: "x"), 0x7f, 0xa1, 0x1e] + [UInt8](repeating: 0x61, count: 4000)
            return try target.flood(upTo: 10, batch: 1) { index in
                Frame(
                    type: 1, flags: Frame.endHeaders, stream: 2 * index + 1,
                    payload: field + [UInt8](repeating: 0xbe, count: 10_000)
                ).bytes
            }
        },
        Attack(
            testDescription: "a window beyond 2^31", answer: .goAway(3), kind: .http2, reason: "FLOW_CONTROL_ERROR"
        ) { try $0.flood(upTo: 3, batch: 1) { _ in Frame.windowUpdate(0, by: 0x7fff_ffff).bytes } },
        Attack(
            testDescription: "more DATA than its window", answer: .goAway(3), kind: .http2, reason: "FLOW_CONTROL_ERROR"
        ) { target in
            // The kernel takes some of it for an application that reads nothing; what is beyond fills the window.
            let opening = Frame.connect(1, to: target.authority(target.ports.deaf))
            return try target.flood(upTo: 2000, opening: [opening], batch: 1) { _ in
                Frame.data(1, [UInt8](repeating: 7, count: 16_000)).bytes
            }
        },
    ]

    static let stalls = [
        Attack(
            testDescription: "a ClientHello of one byte now and then", answer: .closed, kind: .timeout,
            reason: "TLS and HTTP/2 were not set up within"
        ) { target in
            let attacker = try target.dial()
            for byte in [0x16, 0x03, 0x01, 0x02, 0x00] + [UInt8](repeating: 1, count: 512) {
                guard attacker.sendPlainly([byte]) else { break }
                usleep(20_000)
            }
            attacker.awaitEnd()
            return Attack.Outcome(attacker, units: attacker.sent)
        },
        Attack(
            testDescription: "TLS, and then silence", answer: .closed, kind: .timeout,
            reason: "TLS and HTTP/2 were not set up within"
        ) { try $0.outcome($0.member(), units: 0) },
        Attack(
            testDescription: "a preface without SETTINGS", answer: .closed, kind: .timeout,
            reason: "TLS and HTTP/2 were not set up within"
        ) { target in
            let attacker = try target.member()
            attacker.send(Frame.preface + [0, 0])
            return target.outcome(attacker, units: 1)
        },
        Attack(
            testDescription: "a header block of one byte now and then", answer: .closed, kind: .timeout,
            reason: "a header block was not complete within"
        ) { target in
            let attacker = try target.member()
            attacker.greet()
            attacker.send([0, 0x40, 0, 1, 0, 0, 0, 0, 1])
            while attacker.send([0x88]) { usleep(20_000) }
            return target.outcome(attacker, units: attacker.sent)
        },
        Attack(
            testDescription: "a header block whose CONTINUATION never comes", answer: .closed, kind: .timeout,
            reason: "a header block was not complete within"
        ) { target in
            let attacker = try target.member()
            attacker.greet()
            attacker.send(Frame(type: 1, stream: 1, payload: [0x88]).bytes)
            return target.outcome(attacker, units: 1)
        },
        Attack(
            testDescription: "windows of zero for ever", answer: .streamsReset(8), kind: .timeout,
            reason: "nothing was sent either way for", cost: .init(descriptors: 230),
            configure: { $0.streamIdleTimeout = .seconds(1) }
        ) { target in
            let attacker = try target.member()
            attacker.greet(settings: [0, 4, 0, 0, 0, 0])
            for index in 0..<UInt32(100) {
                attacker.send(Frame.connect(2 * index + 1, to: target.authority(target.ports.endless)).bytes)
            }
            return target.outcome(attacker, units: 100) { $0.filter { $0.type == 3 }.count == 100 }
        },
        Attack(
            testDescription: "one that never reads", answer: .closed, kind: .timeout,
            reason: "the peer has read nothing for", cost: .init(descriptors: 40)
        ) { target in
            let attacker = try target.member()
            attacker.greet(settings: [0, 4, 0x7f, 0xff, 0xff, 0xff])
            attacker.send(Frame.windowUpdate(0, by: 0x7000_0000).bytes)
            for index in 0..<UInt32(8) {
                attacker.send(Frame.connect(2 * index + 1, to: target.authority(target.ports.endless)).bytes)
            }
            // It would talk on: what it says is no sign that it listens.
            while attacker.send(Frame(type: 8, stream: 0, payload: Frame.word(1)).bytes) { usleep(50_000) }
            return Attack.Outcome(attacker, units: 8)
        },
    ]

    @Test("by a flood is cut off with the reason", arguments: floods)
    func flood(_ attack: Attack) async throws { try await withstand(attack) }

    @Test("by doing nothing for ever, or next to nothing, ends at its deadline", arguments: stalls)
    func stall(_ attack: Attack) async throws { try await withstand(attack) }

    private func withstand(_ attack: Attack) async throws {
        let mesh = try await TestMesh { configuration in
            configuration.handshakeTimeout = .seconds(1)
            configuration.headerTimeout = .seconds(1)
            configuration.pingInterval = .milliseconds(200)
            configuration.pingTimeout = .seconds(1)
            attack.configure(&configuration)
        }
        let target = Attack.Target(mesh: mesh)
        let servers = try target.servers()
        let companion = try Companion(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: target.ports.echo))
        try await companion.goOn(rounds: 3)
        let timeBefore = mesh.server.loopTime
        let peak = try UsagePeak()
        let outcome = try await TestProgram.onThread { try attack.attempt(target) }
        try await peak.stop()
        let time = mesh.server.loopTime - timeBefore
        print(
            "\(attack.testDescription): the attacker sent \(outcome.units) units in \(outcome.sent) bytes, which took it",
            "\(outcome.time.milliseconds) ms; us \(time.milliseconds) ms, the client beside it included,",
            "\(peak.descriptors) descriptors and \(peak.kibibytes) KiB")
        expect(attack.answer, outcome)
        let record = try await mesh.server.records.first {
            $0.failure?.kind == attack.kind && $0.failure?.description.contains(attack.reason) == true
        }
        #expect(record != nil, "\(mesh.server.records.all.compactMap(\.failure).suffix(3))")
        #expect(time < attack.cost.time)
        #expect(peak.descriptors <= attack.cost.descriptors)
        #expect(peak.kibibytes <= attack.cost.mebibytes << 10)
        try await companion.goOn(rounds: 25)
        #expect(companion.failure == nil)
        try await companion.stop()
        // The companion's tunnel stays.
        try await mesh.server.settle(connections: 1)
        #expect(try Usage.descriptors() <= peak.descriptorsBefore + 4)
        #expect(try Usage.residentKiB() < peak.kibibytesBefore + 8 * 1024)
        withExtendedLifetime(servers) {}
        try await mesh.end()
    }

    private func expect(_ answer: Attack.Answer, _ outcome: Attack.Outcome) {
        switch answer {
        case .goAway(let code):
            #expect(
                outcome.frames.last { $0.goAwayCode != nil }?.goAwayCode.map(UInt32.init) == code,
                "\(outcome.end): \(outcome.frames.suffix(5))")
            #expect(outcome.end != .none)
        case .streamsReset(let code):
            let resets = outcome.frames.filter { $0.type == 3 }
            #expect(!resets.isEmpty && resets.allSatisfy { $0.payload.last == code })
        case .closed: #expect(outcome.end != .none)
        }
    }
}
