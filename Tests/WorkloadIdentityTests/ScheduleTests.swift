import FoundationEssentials
import SeededRandom
import Testing

@testable import WorkloadIdentity

@Suite struct ScheduleTests {
    private static let start = Date(timeIntervalSince1970: 1_000_000)

    @Test(
        "renewal lies between 45 % and 60 % of the whole life",
        arguments: [(0.0, 0.45), (0.5, 0.525), (0.999_999, 0.60), (-1, 0.45), (7, 0.60)])
    func renewal(draw: Double, share: Double) {
        let schedule = RenewalSchedule(
            notBefore: Self.start, notAfter: Self.start.addingTimeInterval(3720), draw: draw)
        #expect(abs(schedule.renewAt.timeIntervalSince(Self.start) - 3720 * share) < 0.01)
        #expect(schedule.renewAt < schedule.notAfter)
    }

    @Test("renewals of a fleet that started together spread over the whole window")
    func spread() {
        var generator = SeededGenerator(seed: 7)
        let shares = (0..<1000).map { _ in
            let schedule = RenewalSchedule(
                notBefore: Self.start, notAfter: Self.start.addingTimeInterval(1000),
                draw: Double.random(in: 0..<1, using: &generator))
            return schedule.renewAt.timeIntervalSince(Self.start) / 1000
        }
        for third in 0..<3 {
            let low = 0.45 + 0.05 * Double(third)
            #expect((250...420).contains(shares.count { $0 >= low && $0 < low + 0.05 }))
        }
    }

    @Test("delays lie between half a second and a bound that doubles up to 150 s")
    func retry() {
        var longest = RetrySchedule()
        var shortest = RetrySchedule()
        let bounds = (0..<12).map { _ in longest.next(draw: 1) / .seconds(1) }
        #expect(bounds == [1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150, 150])
        for _ in 0..<12 { #expect(shortest.next(draw: 0) == .milliseconds(500)) }
    }

    @Test("a thousand failures neither overflow nor wait longer")
    func manyFailures() {
        var schedule = RetrySchedule()
        for _ in 0..<1000 { #expect(schedule.next(draw: 0.9) <= RetrySchedule.delayMax) }
        #expect(schedule.failures == 1000)
    }

    @Test("after a denial the delay is long", arguments: [0.0, 0.5, 1.0])
    func denial(draw: Double) {
        var schedule = RetrySchedule()
        #expect((.seconds(75)...Duration.seconds(150)).contains(schedule.nextAfterDenial(draw: draw)))
    }
}
