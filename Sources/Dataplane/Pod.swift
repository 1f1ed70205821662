public import LinuxNetworking
public import SPIFFE

/// A pod whose connections this proxy carries, as the agent handed it over.
public struct Pod: Sendable {
    public struct Name: Hashable, Sendable {
        public let uid: String
        public let name: String
        public let namespace: String

        public init(uid: String, name: String, namespace: String) {
            self.uid = uid
            self.name = name
            self.namespace = namespace
        }
    }

    public let name: Name
    public let serviceAccount: String
    /// Who the pod is: decided by the namespace that its descriptor names, never by an address.
    public let identity: SPIFFEID
    public let networkNamespace: NetworkNamespace

    public init(name: Name, serviceAccount: String, trustDomain: TrustDomain, networkNamespace: NetworkNamespace)
        throws(SPIFFEIDError)
    {
        self.name = name
        self.serviceAccount = serviceAccount
        self.networkNamespace = networkNamespace
        identity = try SPIFFEID(trustDomain: trustDomain, namespace: name.namespace, serviceAccount: serviceAccount)
    }
}
