import Authority
import KubernetesAPI

/// What of the audit trail is shown on the cluster's own objects, where those who run them look. Ordinary refusals are not: a pod that
/// is not known yet will be.
struct RefusalNotice: Equatable {
    let object: ObjectReference
    let reason: String
    let message: String

    /// `pod` looks a pod up by UID.
    init?(_ event: AuditEvent, pod: (String) -> ObjectReference?) {
        switch event {
        case .denied(let denial, _, _):
            switch denial {
            case .podNotOnNode(let uid, let node):
                guard let pod = pod(uid) else { return nil }
                self.init(
                    object: pod, reason: "IdentityRefused",
                    message: "node \(node), on which this pod does not run, asked for its identity")
            case .banned(let node), .superseded(let node):
                self.init(object: Self.node(node), reason: "NodeRefused", message: "\(denial)")
            default: return nil
            }
        case .cloneSeen(let node, _, _):
            self.init(
                object: Self.node(node), reason: "NodeIdentityCopied",
                message: "somebody showed a certificate of this node that another holder has replaced since")
        case .nodeBanned(let node, let reason, _):
            self.init(object: Self.node(node), reason: "NodeBanned", message: "banned from the mesh: \(reason)")
        default: return nil
        }
    }

    private init(object: ObjectReference, reason: String, message: String) {
        self.object = object
        self.reason = reason
        self.message = message
    }

    /// As the kubelet names its node: `kubectl describe node` looks for the name in place of a UID.
    private static func node(_ name: NodeName) -> ObjectReference {
        ObjectReference(kind: "Node", name: name.description, uid: name.description)
    }
}
