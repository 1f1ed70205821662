import FoundationEssentials
import KubernetesAPI
import Testing

@Suite("Times as the API writes them")
struct TimestampTests {
    @Test(
        "are written to the second and to the microsecond",
        arguments: [
            (0.0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            (1_795_000_000.5, "2026-11-18T11:06:40Z", "2026-11-18T11:06:40.500000Z"),
            (1_795_000_000.000004, "2026-11-18T11:06:40Z", "2026-11-18T11:06:40.000003Z"),
        ])
    func written(time: Double, seconds: String, microseconds: String) {
        let date = Date(timeIntervalSince1970: time)
        #expect(Timestamp(seconds: date).text == seconds)
        #expect(Timestamp(microseconds: date).text.count == microseconds.count)
        #expect(Timestamp(microseconds: date).text.dropLast(2) == microseconds.dropLast(2))
    }

    @Test("are read in both forms")
    func read() {
        let date = Date(timeIntervalSince1970: 1_795_000_000)
        #expect(Timestamp("2026-11-18T11:06:40Z").date == date)
        #expect(Timestamp("2026-11-18T11:06:40.000000Z").date == date)
        #expect(Timestamp("yesterday").date == nil)
    }
}
