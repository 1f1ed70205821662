/// The roles and bindings that every cluster has from its first start, as far as they concern us.
enum BootstrapRoles {
    static func install(_ state: inout Storage.State, clock: Clock) {
        func role(_ name: String, _ rules: JSON) {
            state.put(.clusterRoles, object("ClusterRole", name, clock, ["rules": rules]))
        }
        func bind(_ name: String, _ groups: [String]) {
            let subjects = groups.map { group -> JSON in
                ["kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": .string(group)]
            }
            let reference: JSON = [
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": .string(name),
            ]
            state.put(
                .clusterRoleBindings,
                object("ClusterRoleBinding", name, clock, ["subjects": .array(subjects), "roleRef": reference]))
        }
        role(
            "cluster-admin",
            [
                ["verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]],
                ["verbs": ["*"], "nonResourceURLs": ["*"]],
            ])
        role(
            "system:discovery",
            [
                [
                    "verbs": ["get"],
                    "nonResourceURLs": [
                        "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
                        "/version", "/version/",
                    ],
                ]
            ])
        role(
            "system:public-info-viewer",
            [
                [
                    "verbs": ["get"],
                    "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"],
                ]
            ])
        role(
            "system:basic-user",
            [
                [
                    "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ],
                ["verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]],
            ])
        role(
            "system:service-account-issuer-discovery",
            [["verbs": ["get"], "nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"]]])
        role(
            "system:auth-delegator",
            [
                ["verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]],
                ["verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"]],
            ])
        bind("cluster-admin", ["system:masters"])
        bind("system:discovery", ["system:authenticated"])
        bind("system:basic-user", ["system:authenticated"])
        bind("system:public-info-viewer", ["system:authenticated", "system:unauthenticated"])
        bind("system:service-account-issuer-discovery", ["system:serviceaccounts"])
    }

    private static func object(_ kind: String, _ name: String, _ clock: Clock, _ content: [String: JSON]) -> JSON {
        .object(
            content.merging([
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": .string(kind),
                "metadata": [
                    "name": .string(name), "uid": .string(Registry.uid()),
                    "creationTimestamp": .string(Timestamps.text(clock.now)),
                    "labels": ["kubernetes.io/bootstrapping": "rbac-defaults"],
                ],
            ]) { given, _ in given })
    }
}
