import MeshAPI
import Observability

extension MetricsPage {
    /// What proxies were told of the mesh. In milliseconds, as the page's numbers are whole.
    mutating func add(_ statistics: DiscoveryStatistics) {
        add("culvert_discovery_resources", .gauge, "Workloads and services in the mesh.", [.init(statistics.resources)])
        add("culvert_discovery_streams", .gauge, "Clients that follow the mesh.", [.init(statistics.openStreams)])
        add(
            "culvert_discovery_streams_total", .counter, "Streams that clients have opened.",
            [.init(statistics.streams)])
        add(
            "culvert_discovery_responses_total", .counter, "Responses, by what became of them.",
            [
                .init(statistics.responses, ["state": "sent"]),
                .init(statistics.acknowledged, ["state": "acknowledged"]),
                .init(statistics.refused, ["state": "refused"]),
            ])
        add(
            "culvert_discovery_resources_total", .counter, "Resources in responses.",
            [
                .init(statistics.resourcesSent, ["change": "upsert"]),
                .init(statistics.removalsSent, ["change": "removal"]),
            ])
        var count = 0
        var buckets: [Row] = []
        for (index, bucket) in statistics.lag.counts.enumerated() {
            count += bucket
            let bound =
                index < DiscoveryStatistics.Lag.bounds.count ? "\(DiscoveryStatistics.Lag.bounds[index])" : "+Inf"
            buckets.append(.init(count, ["le": bound]))
        }
        add(
            "culvert_discovery_lag_milliseconds_bucket", .counter,
            "From learning of a change to a client's acknowledgement.", buckets)
        add(
            "culvert_discovery_lag_milliseconds_sum", .counter, "Of all of these.",
            [.init(Int(statistics.lag.sum / .milliseconds(1)))])
        add("culvert_discovery_lag_milliseconds_count", .counter, "How many of these.", [.init(count)])
    }
}
