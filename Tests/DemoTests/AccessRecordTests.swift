import IPAddressing
import Testing

@testable import culvert

@Suite("Access records")
struct AccessRecordTests {
    static let outbound = """
        {"time":"2026-01-02T03:04:05.000006Z","level":"info","scope":"access","msg":"connection complete",\
        "bytes_recv":321,"bytes_sent":123,"direction":"outbound","dst.addr":"10.244.2.2:15008",\
        "dst.hbone_addr":"10.244.2.2:8080","dst.identity":"spiffe://culvert.demo/ns/shop/sa/web",\
        "dst.service":"web.shop.svc.cluster.local","dst.workload":"web","duration_ms":4,"security":"mutual_tls",\
        "src.addr":"10.244.1.2:41000","src.identity":"spiffe://culvert.demo/ns/shop/sa/client",\
        "tls.cipher":"TLS_AES_128_GCM_SHA256","tls.version":"TLSv1.3"}
        """
    static let plaintext = """
        {"msg":"connection complete","direction":"inbound","security":"none","src.addr":"[fd00:10:244:1::3]:5000",\
        "dst.addr":"[fd00:10:244:2::2]:8080","bytes_sent":1,"bytes_recv":2,"duration_ms":0}
        """

    @Test("says who talked to whom, and how")
    func tunnelled() throws {
        let record = try #require(AccessRecord(line: Self.outbound))
        #expect(record.direction == "outbound")
        #expect(record.isMutualTLS)
        #expect(record.source == IPAddress("10.244.1.2"))
        #expect(record.destination == SocketAddress("10.244.2.2:15008"))
        #expect(record.tunnelled == SocketAddress("10.244.2.2:8080"))
        #expect(record.sourceIdentity == "spiffe://culvert.demo/ns/shop/sa/client")
        #expect(record.destinationIdentity == "spiffe://culvert.demo/ns/shop/sa/web")
        #expect(record.tlsVersion == "TLSv1.3")
        #expect(record.cipher == "TLS_AES_128_GCM_SHA256")
        #expect(record.bytesSent == 123)
        #expect(record.bytesReceived == 321)
        #expect(record.failure == nil)
    }

    @Test("needs no identities for a plaintext connection")
    func plain() throws {
        let record = try #require(AccessRecord(line: Self.plaintext))
        #expect(!record.isMutualTLS)
        #expect(record.source == IPAddress("fd00:10:244:1::3"))
        #expect(record.sourceIdentity == nil)
        #expect(record.tlsVersion == nil)
    }

    @Test(
        "are picked out of everything else in a log",
        arguments: [
            "", "{", "{}", "[]", "plain text", "{\"msg\":\"proxy started\",\"level\":\"info\"}",
            "{\"msg\":\"connection complete\"}", "{\"msg\":7,\"direction\":\"inbound\",\"security\":\"none\"}",
            " " + AccessRecordTests.plaintext,
        ])
    func others(line: String) {
        let log = [line, Self.outbound, line, Self.plaintext, line].joined(separator: "\n")
        #expect(AccessRecord(line: line) == nil)
        #expect(AccessRecord.parse(log: log).count == 2)
    }

    @Test("cut off anywhere are none")
    func cutOff() {
        for length in 0..<Self.plaintext.utf8.count {
            #expect(AccessRecord(line: Self.plaintext.prefix(length)) == nil)
        }
    }

    @Test("belong to the pair whose addresses they name, in its direction")
    func pairs() throws {
        let topology = DemoTopology()
        let tunnelled = try #require(AccessRecord(line: Self.outbound))
        let plain = try #require(AccessRecord(line: Self.plaintext))
        #expect(topology.pairs.filter { tunnelled.belongs(to: $0) }.map(\.name) == ["client → web"])
        #expect(topology.pairs.filter { plain.belongs(to: $0) }.map(\.name) == ["outsider → web"])
        let back = DemoTopology.Pair(from: topology.web, to: topology.client)
        #expect(!tunnelled.belongs(to: back))
    }
}
