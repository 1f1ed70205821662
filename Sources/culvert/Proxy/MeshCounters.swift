import MeshAPI
import Observability

/// What the proxy was told of the mesh, on its metrics page.
struct MeshCounters {
    private let responses: Counters.Series
    private let upserts: Counters.Series
    private let removals: Counters.Series
    private let refusals: Counters.Series
    private let disconnections: Counters.Series
    private var shown = WorkloadDiscoveryClient.Status()

    init(_ counters: Counters) {
        func series(_ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:]) -> Counters.Series {
            counters.describe(name, help)
            return counters.series(name, labels: labels)
        }
        let resources = "culvert_xds_resources_total"
        let help = "Resources that the agent has told, by what was done with them."
        responses = series("culvert_xds_responses_total", "Discovery responses of the agent.")
        upserts = series(resources, help, ["change": "told"])
        removals = series(resources, help, ["change": "removed"])
        refusals = series(resources, help, ["change": "refused"])
        disconnections = series(
            "culvert_xds_disconnections_total", "Discovery connections to the agent that have ended.")
    }

    mutating func show(_ status: WorkloadDiscoveryClient.Status) {
        func add(_ now: Int, _ before: Int, to series: Counters.Series) {
            if now > before { series.add(UInt64(now - before)) }
        }
        add(status.responses, shown.responses, to: responses)
        add(status.resources, shown.resources, to: upserts)
        add(status.removals, shown.removals, to: removals)
        add(status.refused, shown.refused, to: refusals)
        add(status.disconnections, shown.disconnections, to: disconnections)
        shown = status
    }
}
