import Observability
import Testing

@testable import MeshAPI
@testable import culvert

@Suite("Metrics of discovery")
struct DiscoveryMetricsTests {
    @Test("the agent's page says what proxies were told, what they refused, and how long it took")
    func agent() {
        var statistics = DiscoveryStatistics()
        statistics.resources = 12
        statistics.openStreams = 2
        (statistics.responses, statistics.acknowledged, statistics.refused) = (9, 7, 1)
        statistics.removalsSent = 3
        for lag in [4, 7, 9, 20_000] { statistics.lag.add(.milliseconds(lag)) }
        var page = MetricsPage()
        page.add(statistics)
        let lines = page.text.split(separator: "\n").filter { !$0.hasPrefix("#") }
        for line in [
            "culvert_discovery_resources 12", "culvert_discovery_streams 2",
            "culvert_discovery_responses_total{state=\"refused\"} 1",
            "culvert_discovery_responses_total{state=\"sent\"} 9",
            "culvert_discovery_resources_total{change=\"removal\"} 3",
            "culvert_discovery_lag_milliseconds_bucket{le=\"5\"} 1",
            "culvert_discovery_lag_milliseconds_bucket{le=\"10\"} 3",
            "culvert_discovery_lag_milliseconds_bucket{le=\"10000\"} 3",
            "culvert_discovery_lag_milliseconds_bucket{le=\"+Inf\"} 4", "culvert_discovery_lag_milliseconds_sum 20020",
            "culvert_discovery_lag_milliseconds_count 4",
        ] {
            #expect(lines.contains(Substring(line)), "\(line)")
        }
    }

    @Test("the proxy's page says what it was told, and counts on when it is shown again")
    func proxy() {
        let counters = Counters()
        var mesh = MeshCounters(counters)
        #expect(counters.text.contains("culvert_xds_resources_total{change=\"refused\"} 0"))
        var status = WorkloadDiscoveryClient.Status()
        (status.responses, status.resources, status.removals, status.refused) = (2, 10, 3, 1)
        mesh.show(status)
        mesh.show(status)
        (status.resources, status.disconnections) = (11, 1)
        mesh.show(status)
        for line in [
            "culvert_xds_responses_total 2", "culvert_xds_resources_total{change=\"told\"} 11",
            "culvert_xds_resources_total{change=\"removed\"} 3", "culvert_xds_resources_total{change=\"refused\"} 1",
            "culvert_xds_disconnections_total 1",
        ] {
            #expect(counters.text.contains(line + "\n"), "\(line)")
        }
    }
}
