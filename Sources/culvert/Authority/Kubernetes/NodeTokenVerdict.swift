import KubernetesAPI

/// Whether a reviewed token proves a node: decided from the review alone, without I/O.
///
/// The API server vouches for the signature, the time and that the pod still is. What it says beside that is compared here, byte by
/// byte: the audience, so that a token that was given to somebody else is worth nothing; the service account, since every pod has a
/// token; and the pod, which is what ties the token to a node.
struct NodeTokenVerdict {
    let audience: String
    let accounts: Set<ServiceAccountName>

    /// The pod that holds the token.
    struct Holder: Equatable {
        let account: ServiceAccountName
        let podName: String
        let podUID: String
        /// Nil where the API server is older than 1.30 and does not say.
        let node: String?

        var reference: ObjectReference {
            ObjectReference(kind: "Pod", namespace: account.namespace, name: podName, uid: podUID)
        }
    }

    enum Refusal: Error, Equatable {
        case notAuthenticated(String)
        case wrongAudience
        case noServiceAccount(String)
        case notBound(ServiceAccountName)
        case wrongAccount(Holder)
    }

    static let podNameKey = "authentication.kubernetes.io/pod-name"
    static let podUIDKey = "authentication.kubernetes.io/pod-uid"
    static let nodeNameKey = "authentication.kubernetes.io/node-name"

    func holder(_ review: TokenReviewStatus) throws(Refusal) -> Holder {
        guard review.isAuthenticated, review.error == nil else {
            throw .notAuthenticated(review.error ?? "it is not authentic, or has expired, or its pod has gone")
        }
        // A server that answers without audiences has not looked at them.
        guard review.audiences.contains(where: { $0.utf8.elementsEqual(audience.utf8) }) else { throw .wrongAudience }
        guard let account = ServiceAccountName(username: review.username) else {
            throw .noServiceAccount(review.username)
        }
        guard let name = Self.only(review.extra[Self.podNameKey]), let uid = Self.only(review.extra[Self.podUIDKey])
        else { throw .notBound(account) }
        let node = Self.only(review.extra[Self.nodeNameKey])
        let holder = Holder(account: account, podName: name, podUID: uid, node: node)
        guard accounts.contains(account) else { throw .wrongAccount(holder) }
        return holder
    }

    /// Where the token does not say it: the node of the pod, which has to be the same one and still there.
    static func node(of holder: Holder, from pod: Pod) -> String? {
        guard pod.metadata.uid.utf8.elementsEqual(holder.podUID.utf8), !pod.isTerminated else { return nil }
        return pod.spec.nodeName
    }

    private static func only(_ values: [String]?) -> String? {
        guard let values, values.count == 1, !values[0].isEmpty else { return nil }
        return values[0]
    }
}

/// A service account by namespace and name, compared as bytes.
struct ServiceAccountName: Hashable, CustomStringConvertible {
    let namespace: String
    let name: String

    private static let prefix = "system:serviceaccount:"

    init(namespace: String, name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// `system:serviceaccount:NAMESPACE:NAME`, and nothing that only looks like it.
    init?(username: String) {
        guard username.utf8.starts(with: Self.prefix.utf8) else { return nil }
        self.init(String(username.unicodeScalars.dropFirst(Self.prefix.unicodeScalars.count)))
    }

    /// `NAMESPACE:NAME`, of names that Kubernetes allows.
    init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.count <= 253 && $0.allSatisfy(Self.isAllowed) })
        else { return nil }
        namespace = String(decoding: parts[0], as: UTF8.self)
        name = String(decoding: parts[1], as: UTF8.self)
    }

    var description: String { "\(namespace):\(name)" }

    // ASCII throughout, so that equal strings are equal bytes.
    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }
}

extension NodeTokenVerdict.Refusal: CustomStringConvertible {
    var description: String {
        switch self {
        case .notAuthenticated(let reason): "the API server does not vouch for the token: \(reason)"
        case .wrongAudience: "the token is meant for somebody else: its audience is not the authority's"
        case .noServiceAccount(let user): "the token is no service account's but \(user.prefix(128))'s"
        case .notBound(let account):
            "the token of service account \(account) is not bound to a pod: mount a projected one (serviceAccountToken)"
        case .wrongAccount(let holder):
            "pod \(holder.podName) runs under service account \(holder.account), which may not speak for a node"
        }
    }
}
