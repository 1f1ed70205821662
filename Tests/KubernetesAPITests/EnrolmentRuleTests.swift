import KubernetesAPI
import Testing

@Suite("Which pods of a cluster are enrolled, and why others are not")
struct EnrolmentRuleTests {
    private static let label = "culvert.dev/mtls-enabled"

    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let exclusion: PodExclusion?
        let change: @Sendable (inout Pod) -> Void

        init(_ what: String, _ exclusion: PodExclusion?, _ change: @escaping @Sendable (inout Pod) -> Void = { _ in }) {
            testDescription = what
            self.exclusion = exclusion
            self.change = change
        }
    }

    @Test(
        "a pod is enrolled with its namespace unless there is a reason",
        arguments: [
            Case("an ordinary one", nil),
            Case("one whose label says true", nil) { $0.metadata.labels[label] = "true" },
            Case("one whose label says no more than its key", nil) { $0.metadata.labels[label] = "" },
            Case("one whose label says False: other spellings are not guessed at", nil) {
                $0.metadata.labels[label] = "False"
            },
            Case("one that opts out", .label) { $0.metadata.labels[label] = "false" },
            Case("one in the host's network", .hostNetwork) { $0.spec.hostNetwork = true },
            Case("one in the host's network that asks for it", .hostNetwork) {
                $0.spec.hostNetwork = true
                $0.metadata.labels[label] = "true"
            },
            Case("Culvert's own", .culvert) {
                $0.metadata.namespace = "culvert-system"
                $0.metadata.labels["app.kubernetes.io/part-of"] = "culvert"
            },
            Case("another's in Culvert's namespace", nil) { $0.metadata.namespace = "culvert-system" },
            Case("one that says it was Culvert's, elsewhere", nil) {
                $0.metadata.labels["app.kubernetes.io/part-of"] = "culvert"
            },
            Case("a static one", .staticPod) { $0.metadata.annotations["kubernetes.io/config.mirror"] = "0123" },
            Case("one that has succeeded", .terminated) { $0.status.phase = .succeeded },
            Case("one that has failed", .terminated) { $0.status.phase = .failed },
            Case("one that is being deleted: as long as it runs", nil) {
                $0.metadata.deletionTimestamp = Timestamp("2026-01-01T00:00:00Z")
            },
            Case("one without an address yet", .noAddress) { $0.status = PodStatus(phase: .pending) },
            Case("one with the address of old servers only", nil) { $0.status.podIPs = [] },
        ])
    func exclusions(_ example: Case) {
        var pod = Pod(
            metadata: ObjectMeta(name: "web", namespace: "shop", uid: "u-1"), spec: PodSpec(nodeName: "node-a"),
            status: PodStatus(phase: .running, podIPs: ["10.0.0.1"]))
        example.change(&pod)
        let exclusion = EnrolmentRule(label: Self.label, ownNamespace: "culvert-system").exclusion(of: pod)
        #expect(exclusion == example.exclusion)
    }

    @Test("every reason is told in words of its own")
    func words() {
        let texts = PodExclusion.allCases.map { $0.text(enrolmentLabel: Self.label) }
        #expect(Set(texts).count == PodExclusion.allCases.count)
        #expect(texts.contains("its own label culvert.dev/mtls-enabled says false"))
    }

    @Test(
        "a namespace is enrolled by exactly true, by the configured label, and never one of those that are refused",
        arguments: [
            ("shop", "true", .enrolled), ("shop", nil, .unlabelled),
            ("shop", "false", .unlabelled), ("shop", "True", .otherValue("True")), ("shop", "", .otherValue("")),
            ("shop", "1", .otherValue("1")), ("kube-system", "true", .refused), ("kube-system", nil, .unlabelled),
            ("kube-public", "true", .refused), ("kube-systems", "true", .enrolled),
        ] as [(String, String?, NamespaceEnrolment)])
    func namespaces(_ name: String, _ value: String?, _ enrolment: NamespaceEnrolment) {
        let labels = value.map { ["io.example/mtls": $0] } ?? [Self.label: "true"]
        let namespace = Namespace(metadata: ObjectMeta(name: name, labels: labels))
        #expect(EnrolmentRule(label: "io.example/mtls").enrolment(of: namespace) == enrolment)
    }

    @Test("system namespaces are enrolled when the operator says so")
    func allowed() {
        let namespace = Namespace(metadata: ObjectMeta(name: "kube-system", labels: [Self.label: "true"]))
        #expect(EnrolmentRule(label: Self.label, excludedNamespaces: []).enrolment(of: namespace) == .enrolled)
    }
}
