import Authority
import FoundationEssentials
import Observability

/// The authority's metrics, computed from its state when they are asked for. `docs/metrics.md` lists them.
///
/// As many series as there are authorities and reasons: none per node or pod.
enum AuthorityMetrics {
    static func page(_ status: AuthorityStatus, _ counts: AuthorityCounts, isReady: Bool, now: Date) -> MetricsPage {
        var page = MetricsPage()
        page.add(
            "culvert_ca_ready", .gauge, "1 when the authority can sign, and its store and maintenance work.",
            [.init(isReady ? 1 : 0)])
        addAuthorities(status, to: &page)
        addNodes(status, now, to: &page)
        addLeaves(status, to: &page)
        page.add("culvert_ca_signed_total", .counter, "SVIDs signed since the start.", [.init(status.signed)])
        page.add(
            "culvert_ca_clamped_total", .counter, "SVIDs that end before the time that was wanted.",
            [.init(status.clamped)])
        page.add(
            "culvert_ca_denied_total", .counter, "Requests denied since the start, by reason.",
            counts.deniedByReason.sorted { $0.key < $1.key }.map { .init($0.value, ["reason": $0.key]) })
        page.add(
            "culvert_ca_maintenance_failures_total", .counter, "Rounds of maintenance that failed.",
            [.init(counts.maintenance.total)])
        page.add(
            "culvert_ca_maintenance_failures_consecutive", .gauge, "The same in a row; 0 after a success.",
            [.init(counts.maintenance.consecutive)])
        page.add(
            "culvert_ca_store_errors_total", .counter, "What the store was asked for and did not do.",
            [.init(counts.storeErrors)])
        return page
    }

    private static func addAuthorities(_ status: AuthorityStatus, to page: inout MetricsPage) {
        page.add(
            "culvert_ca_authority_not_after_seconds", .gauge, "When the authority ends, in seconds since 1970.",
            status.authorities.map { record in
                .init(
                    Int64(record.certificate.notValidAfter.timeIntervalSince1970),
                    ["id": "\(record.id)", "kind": record.kind.rawValue, "state": record.state.rawValue])
            })
        page.add(
            "culvert_ca_bundle_sequence", .gauge, "Of the published bundle; grows with its content.",
            [.init(status.bundleSequence)])
        page.add(
            "culvert_ca_leaf_lifetime_seconds", .gauge, "How long an SVID lives.",
            [.init(status.leafLifetime.components.seconds)])
    }

    private static func addNodes(_ status: AuthorityStatus, _ now: Date, to page: inout MetricsPage) {
        let standing = status.nodes.filter { !$0.banned }
        let live = standing.filter { $0.expiresAt > now }
        let expired = standing.filter { $0.hasAttested && $0.expiresAt <= now }
        let lagging = live.filter { ($0.acknowledgement?.sequence ?? 0) < status.bundleSequence }
        for (name, help, count) in [
            ("culvert_ca_nodes", "Nodes that have attested, or shown tokens.", status.nodes.count),
            (
                "culvert_ca_nodes_lagging", "Live nodes that have not acknowledged the published bundle.",
                lagging.count
            ),
            ("culvert_ca_nodes_banned", "Nodes that get nothing any more.", status.nodes.count - standing.count),
            (
                "culvert_ca_nodes_cloned", "Nodes whose identity two were seen to hold.",
                status.nodes.count { $0.cloneSeenAt != nil }
            ),
            ("culvert_ca_nodes_expired", "Nodes whose own SVID has run out.", expired.count),
        ] {
            page.add(name, .gauge, help, [.init(count)])
        }
    }

    /// As the nodes last reported. What they name that is no authority here counts as `other`.
    private static func addLeaves(_ status: AuthorityStatus, to page: inout MetricsPage) {
        var counts = Dictionary(uniqueKeysWithValues: status.authorities.map { ("\($0.id)", UInt64(0)) })
        var oldest: Int64?
        for leaves in status.nodes.flatMap({ $0.acknowledgement?.leaves ?? [] }) where leaves.count > 0 {
            counts[counts[leaves.authority] == nil ? "other" : leaves.authority, default: 0] += UInt64(leaves.count)
            oldest = min(oldest ?? .max, leaves.oldestExpiry)
        }
        page.add(
            "culvert_ca_leaves", .gauge, "SVIDs in use on nodes, by the authority that signed them.",
            counts.sorted { $0.key < $1.key }.map { .init($0.value, ["authority": $0.key]) })
        page.add(
            "culvert_ca_leaf_oldest_expiry_seconds", .gauge,
            "When the first of the SVIDs in use ends, in seconds since 1970.",
            oldest.map { [.init($0)] } ?? [])
    }
}
