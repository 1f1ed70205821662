import Observability
import Testing

@Suite("Readiness")
struct ReadinessTests {
    @Test("is ready when every condition was met, and says what is missing until then")
    func conditions() {
        let readiness = Readiness(conditions: ["mesh", "identity"])
        #expect(readiness.notReadyBecause == "identity: not started; mesh: not started")
        readiness.met("mesh")
        readiness.unmet("identity", because: "the authority at 10.0.0.1:15012 does not answer")
        #expect(readiness.notReadyBecause == "identity: the authority at 10.0.0.1:15012 does not answer")
        readiness.met("identity")
        #expect(readiness.notReadyBecause == nil)
        readiness.unmet("mesh", because: "the agent is away")
        #expect(readiness.notReadyBecause == "mesh: the agent is away")
    }
}

@Suite("Counters")
struct CountersTests {
    @Test("prints Prometheus' text format, sorted and escaped")
    func text() {
        let counters = Counters()
        counters.describe("b_total", "What b counts.")
        counters.describe("a_total", "What a counts.")
        counters.add(to: "b_total", labels: ["direction": "out\"bound\\\n"])
        counters.add(2, to: "b_total", labels: ["direction": "inbound"])
        counters.add(3, to: "b_total", labels: ["direction": "inbound"])
        #expect(
            counters.text == """
                # HELP a_total What a counts.
                # TYPE a_total counter
                a_total 0
                # HELP b_total What b counts.
                # TYPE b_total counter
                b_total{direction="inbound"} 5
                b_total{direction="out\\"bound\\\\\\n"} 1

                """
        )
    }

    @Test("does not grow without bound when labels do")
    func bounded() {
        let counters = Counters(seriesMax: 2)
        counters.describe("c_total", "c")
        for index in 0..<100 { counters.add(to: "c_total", labels: ["i": "\(index)"]) }
        #expect(counters.text.contains("c_total{overflow=\"true\"} 98"))
        #expect(counters.text.split(separator: "\n").count == 5)
    }
}
