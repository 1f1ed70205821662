import Authority
import KubernetesAPI
import Testing

@testable import culvert

@Suite("Whether a reviewed token proves a node")
struct NodeTokenVerdictTests {
    private static let account = ServiceAccountName(namespace: "culvert-system", name: "culvert-proxy")
    private let verdict = NodeTokenVerdict(audience: "culvert-ca", accounts: [Self.account])

    private static func review(_ change: (inout TokenReviewStatus) -> Void = { _ in }) -> TokenReviewStatus {
        var review = TokenReviewStatus()
        review.isAuthenticated = true
        review.audiences = ["culvert-ca"]
        review.username = "system:serviceaccount:culvert-system:culvert-proxy"
        review.extra = [
            NodeTokenVerdict.podNameKey: ["proxy-x"], NodeTokenVerdict.podUIDKey: ["uid-1"],
            NodeTokenVerdict.nodeNameKey: ["node-1"],
        ]
        change(&review)
        return review
    }

    private func refusal(_ change: (inout TokenReviewStatus) -> Void) -> NodeTokenVerdict.Refusal? {
        do {
            _ = try verdict.holder(Self.review(change))
            return nil
        } catch { return error }
    }

    @Test("of the right account, for us, bound to a pod: it does")
    func proves() throws {
        let holder = try verdict.holder(Self.review())
        #expect(holder == .init(account: Self.account, podName: "proxy-x", podUID: "uid-1", node: "node-1"))
        #expect(try verdict.holder(Self.review { $0.extra[NodeTokenVerdict.nodeNameKey] = nil }).node == nil)
        #expect(try verdict.holder(Self.review { $0.audiences = ["other", "culvert-ca"] }) == holder)
    }

    @Test("anything else does not")
    func refuses() {
        #expect(refusal { $0.isAuthenticated = false } != nil)
        #expect(refusal { $0.error = "expired" } == .notAuthenticated("expired"))
        for audiences in [[], ["culvert-ca "], ["https://kubernetes.default.svc"], ["Culvert-CA"]] {
            #expect(refusal { $0.audiences = audiences } == .wrongAudience)
        }
        for name in [
            "", "kubernetes-admin", "system:node:node-1", "system:serviceaccount:culvert-system",
            "system:serviceaccount:culvert-system:culvert-proxy:x", "system:serviceaccount::culvert-proxy",
            "xsystem:serviceaccount:culvert-system:culvert-proxy",
            "system:serviceaccount:culvert-system:culvert-proxy\u{301}",
        ] { #expect(refusal { $0.username = name } == .noServiceAccount(name)) }
        for key in [NodeTokenVerdict.podNameKey, NodeTokenVerdict.podUIDKey] {
            for values in [nil, [], [""], ["a", "b"]] as [[String]?] {
                #expect(refusal { $0.extra[key] = values } == .notBound(Self.account))
            }
        }
        for name in ["default:culvert-proxy", "culvert-system:default", "culvert-system:culvert-proxy2"] {
            guard case .wrongAccount(let holder) = refusal({ $0.username = "system:serviceaccount:" + name }) else {
                Issue.record("\(name) may not speak for a node")
                continue
            }
            #expect(holder.reference.namespace == holder.account.namespace && holder.reference.uid == "uid-1")
        }
    }

    @Test("without the node in it, the pod says where it runs, if it is the same one")
    func olderServers() throws {
        let holder = try verdict.holder(Self.review { $0.extra[NodeTokenVerdict.nodeNameKey] = nil })
        func node(_ uid: String, _ node: String?, _ phase: PodStatus.Phase) -> String? {
            NodeTokenVerdict.node(
                of: holder,
                from: Pod(
                    metadata: ObjectMeta(name: "proxy-x", namespace: "culvert-system", uid: uid),
                    spec: PodSpec(nodeName: node), status: PodStatus(phase: phase)))
        }
        #expect(node("uid-1", "node-1", .running) == "node-1")
        #expect(node("uid-2", "node-1", .running) == nil)
        #expect(node("uid-1", nil, .pending) == nil)
        #expect(node("uid-1", "node-1", .failed) == nil)
    }
}

@Suite("The cluster's pods, as identities are decided from them")
struct ClusterPodsTests {
    private static let label = "culvert.dev/mtls-enabled"

    private static func namespace(_ name: String, _ value: String?) -> Namespace {
        Namespace(metadata: ObjectMeta(name: name, uid: name, labels: value.map { [label: $0] } ?? [:]))
    }

    private static func pod(
        _ name: String, in namespace: String = "shop", node: String? = "node-1", _ phase: PodStatus.Phase = .running,
        label value: String? = nil, hostNetwork: Bool = false, partOf: String? = nil, isStatic: Bool = false
    ) -> Pod {
        var pod = Pod(
            metadata: ObjectMeta(
                name: name, namespace: namespace, uid: "u-" + name, labels: value.map { [label: $0] } ?? [:]),
            spec: PodSpec(nodeName: node, serviceAccountName: "web", hostNetwork: hostNetwork),
            status: PodStatus(phase: phase))
        pod.metadata.labels["app.kubernetes.io/part-of"] = partOf
        pod.metadata.annotations["kubernetes.io/config.mirror"] = isStatic ? "0123" : nil
        return pod
    }

    private static let rule = EnrolmentRule(label: label, ownNamespace: "culvert-system")

    private static func pods(_ pods: Pod...) -> ClusterPods {
        var cluster = ClusterPods(enrolment: rule)
        let namespaces = [
            namespace("shop", "true"), namespace("other", nil), namespace("odd", "yes"),
            namespace("kube-system", "true"),
            namespace("culvert-system", "true"),
        ]
        _ = cluster.take(.synced(namespaces))
        // As the informer holds them.
        cluster.take(
            .synced(
                pods.map { pod in
                    var pod = pod
                    ClusterPods.trim(&pod, rule)
                    return pod
                }))
        return cluster
    }

    @Test(
        "only an enrolled namespace's pods have identities, and the label's value is exactly true",
        arguments: [nil, "", "True", "1", "false", "true "])
    func namespaces(value: String?) {
        var cluster = Self.pods(Self.pod("a"))
        func isEnrolled() -> Bool {
            let known = [
                cluster.pod(uid: "u-a"), cluster.pod(on: "node-1", namespace: "shop", serviceAccount: "web"),
            ]
            #expect(known.allSatisfy { $0?.node == "node-1" && $0?.uid == "u-a" }, "pods are not told again")
            #expect(known[0]?.exclusion == known[1]?.exclusion)
            return known[0]?.exclusion == nil
        }
        #expect(isEnrolled())
        let before = Self.namespace("shop", "true")
        let after = Self.namespace("shop", value)
        #expect(cluster.take(.changed([.modified(old: before, new: after)])) == true)
        #expect(!isEnrolled())
        #expect(cluster.take(.changed([.modified(old: after, new: before)])) == true)
        #expect(isEnrolled())
        #expect(cluster.take(.changed([.deleted(before)])) == true)
        #expect(!isEnrolled())
    }

    private static let key = "culvert.dev/mtls-enabled"

    @Test(
        "whom the agents do not capture has no identity, and the reason is told",
        arguments: [
            (pod("in", label: "true"), nil), (pod("odd", label: "no"), nil), (pod("starting", .pending), nil),
            (pod("out", label: "false"), "its own label \(key) says false"),
            (pod("host", hostNetwork: true), "it uses its node's network"),
            (pod("static", isStatic: true), "it is a static pod"),
            (pod("ours", in: "culvert-system", partOf: "culvert"), "it is a part of Culvert"),
            (pod("app", in: "culvert-system"), nil), (pod("poser", partOf: "culvert"), nil),
            (pod("other", in: "other"), "its namespace other is not labelled \(key)=true"),
            (pod("none", in: "none"), "its namespace none is not labelled \(key)=true"),
            (pod("guess", in: "odd"), "of its namespace odd, \(key)=yes enrols nothing: only exactly true does"),
            (
                pod("dns", in: "kube-system"),
                "of its namespace kube-system, \(key)=true is not followed: it is one of the namespaces that are never enrolled"
            ),
        ] as [(Pod, String?)])
    func excluded(pod: Pod, reason: String?) throws {
        let cluster = Self.pods(pod)
        let known = try #require(cluster.pod(uid: pod.metadata.uid))
        #expect(known.exclusion == reason)
        #expect(cluster.pod(on: "node-1", namespace: pod.namespace, serviceAccount: "web") == known)
    }

    @Test("one that is not placed is not known; of several under an account one that is enrolled answers for it")
    func placed() {
        let cluster = Self.pods(
            Self.pod("waiting", node: nil), Self.pod("a", hostNetwork: true), Self.pod("b"),
            Self.pod("c", label: "false"))
        #expect(cluster.pod(uid: "u-waiting") == nil)
        #expect(cluster.pod(uid: "u-none") == nil)
        #expect(cluster.pod(on: "node-1", namespace: "shop", serviceAccount: "web")?.uid == "u-b")
        #expect(cluster.enrolledNamespaces == ["shop", "culvert-system"])
    }

    @Test(
        "a pod lives until its containers have ended, and not by its name",
        arguments: [
            (PodStatus.Phase.pending, true), (.running, true), (.unknown, true), (.succeeded, false), (.failed, false),
        ])
    func phases(phase: PodStatus.Phase, live: Bool) {
        let cluster = Self.pods(Self.pod("a", phase))
        #expect(cluster.pod(uid: "u-a")?.live == live)
        #expect((cluster.pod(on: "node-1", namespace: "shop", serviceAccount: "web") != nil) == live)
    }

    @Test("a pod that moves, ends or goes is followed")
    func follows() {
        var cluster = Self.pods(Self.pod("a", node: nil), Self.pod("b"))
        let placed = Self.pod("a", node: "node-2")
        cluster.take(.changed([.modified(old: Self.pod("a", node: nil), new: placed)]))
        #expect(cluster.pod(uid: "u-a")?.node == "node-2")
        cluster.take(.changed([.deleted(placed)]))
        #expect(cluster.pod(uid: "u-a") == nil)
        #expect(cluster.pod(on: "node-2", namespace: "shop", serviceAccount: "web") == nil)
        #expect(cluster.pod(on: "node-1", namespace: "shop", serviceAccount: "web")?.uid == "u-b")
        #expect(cluster.reference(uid: "u-b")?.name == "b")
    }
}

@Suite("Where the trust bundle's ConfigMap is written")
struct BundlePlacementTests {
    private static let content = BundlePlacement.Content(pem: "P", jwks: "J", sequence: 7)

    private static func map(
        _ namespace: String, pem: String = "P", sequence: String = "7", ours: Bool = true, extra: [String: String] = [:]
    ) -> ConfigMap {
        var map = ConfigMap(
            metadata: ObjectMeta(
                name: "bundle", namespace: namespace, uid: "u-" + namespace,
                labels: ours ? [BundlePlacement.managerLabel: BundlePlacement.manager] : [:],
                annotations: [BundlePlacement.sequenceKey: sequence]),
            data: [BundlePlacement.pemKey: pem, BundlePlacement.jwksKey: "J"])
        map.data.merge(extra) { $1 }
        map.metadata.resourceVersion = "41"
        return map
    }

    private static func placement(enrolled: Set<String>?, _ present: ConfigMap...) -> BundlePlacement {
        var placement = BundlePlacement(name: "bundle", home: "home")
        placement.content = content
        placement.enrolled = enrolled
        placement.take(.synced(present))
        return placement
    }

    private static func words(_ placement: BundlePlacement) -> [String] {
        placement.steps.map { step in
            switch step {
            case .create(let map): "create " + map.namespace
            case .repair(let namespace, _): "repair " + namespace
            case .remove(let namespace, let uid): "remove \(namespace) \(uid)"
            }
        }
    }

    @Test("at home first, then wherever namespaces are enrolled")
    func creates() {
        #expect(Self.words(Self.placement(enrolled: ["b", "a", "home"])) == ["create home", "create a", "create b"])
        #expect(Self.words(Self.placement(enrolled: nil)) == ["create home"])
        #expect(Self.words(Self.placement(enrolled: ["a"], Self.map("home"), Self.map("a"))) == [])
    }

    @Test("nothing happens before it is known what there is, and nothing is taken away before the namespaces are")
    func waits() {
        var placement = BundlePlacement(name: "bundle", home: "home")
        placement.enrolled = ["a"]
        placement.take(.synced([]))
        #expect(placement.steps.isEmpty, "no bundle yet")
        var other = BundlePlacement(name: "bundle", home: "home")
        other.content = Self.content
        other.enrolled = ["a"]
        #expect(other.steps.isEmpty, "not listed yet")
        #expect(Self.words(Self.placement(enrolled: nil, Self.map("home"), Self.map("a"))) == [])
    }

    @Test("an edited one is set right, with what was added taken out; a newer one of another authority's stays")
    func repairs() {
        for edited in [
            Self.map("a", pem: "X"), Self.map("a", sequence: "6"), Self.map("a", extra: ["more": "1"]),
        ] { #expect(Self.words(Self.placement(enrolled: ["a"], Self.map("home"), edited)) == ["repair a"]) }
        let placement = Self.placement(enrolled: ["a"], Self.map("home"), Self.map("a", extra: ["more": "1"]))
        guard case .repair(_, let patch) = placement.steps.first else {
            Issue.record("repaired")
            return
        }
        #expect(patch["data"] == ["more": nil, "bundle.json": "J", "bundle.pem": "P"])
        #expect(patch["metadata"]?["resourceVersion"] == "41", "nothing that was not seen is replaced")
        #expect(
            Self.words(Self.placement(enrolled: ["a"], Self.map("home"), Self.map("a", pem: "N", sequence: "8"))) == [])
    }

    @Test(
        "ours goes from namespaces that are enrolled no more, another's of the same name stays everywhere but at home")
    func removes() {
        #expect(Self.words(Self.placement(enrolled: [], Self.map("home"), Self.map("a"))) == ["remove a u-a"])
        #expect(Self.words(Self.placement(enrolled: [], Self.map("home"), Self.map("a", ours: false))) == [])
        #expect(Self.words(Self.placement(enrolled: ["a"], Self.map("home"), Self.map("a", ours: false))) == [])
        #expect(Self.words(Self.placement(enrolled: [], Self.map("home", ours: false))) == ["repair home"])
    }

    @Test("a deleted one is made again")
    func deleted() {
        var placement = Self.placement(enrolled: [], Self.map("home"))
        #expect(placement.steps.isEmpty)
        placement.take(.changed([.deleted(Self.map("home"))]))
        #expect(Self.words(placement) == ["create home"])
        placement.take(.changed([.added(Self.map("home"))]))
        #expect(placement.steps.isEmpty)
    }
}
