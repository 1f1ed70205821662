import SwiftProtobuf

/// The one authorization policy that we speak: who has no identity is refused. Istio makes it of a PeerAuthentication whose mode is
/// STRICT, and refers to it by this name from the workloads that it holds for.
///
/// What the name says is decided with the workload, so that there is no moment at which one is known without the other; the resource
/// itself is for proxies that look it up.
enum StrictPolicy {
    private static let shortName = "istio_converted_static_strict"
    static let name = "istio-system/" + shortName

    /// Whatever Istio's root namespace is called.
    static func isName(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count == 2 && !parts[0].isEmpty && parts[1] == shortName
    }

    static let message = Istio_Security_Authorization.with {
        $0.name = shortName
        $0.namespace = "istio-system"
        $0.scope = .workloadSelector
        $0.action = .deny
        $0.rules = [
            .with {
                $0.clauses = [.with { $0.matches = [.with { $0.notPrincipals = [.with { $0.presence = .init() }] }] }]
            }
        ]
    }

    /// Whether a message says what we take the name to say.
    static func isContent(_ other: Istio_Security_Authorization) -> Bool {
        var expected = message
        expected.namespace = other.namespace
        return other == expected
    }
}
