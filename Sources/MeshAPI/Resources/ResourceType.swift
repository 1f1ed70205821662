/// The resource types of the mesh's discovery service, by type URL.
enum ResourceType {
    /// Workloads and services.
    static let address = "type.googleapis.com/istio.workload.Address"
    static let authorization = "type.googleapis.com/istio.security.Authorization"

    static let all = [address, authorization]
}
