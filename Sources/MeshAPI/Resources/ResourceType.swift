/// The resource types of the mesh's discovery service.
enum ResourceType: CaseIterable, Sendable {
    /// Workloads and services.
    case address
    case authorization
    /// Where pods and services have their addresses from. Our own: a proxy that does not ask for it is not told.
    case ranges

    var url: String {
        switch self {
        case .address: "type.googleapis.com/istio.workload.Address"
        case .authorization: "type.googleapis.com/istio.security.Authorization"
        case .ranges: "type.googleapis.com/culvert.mesh.v1.AddressRanges"
        }
    }

    init?(url: String) {
        guard let type = Self.allCases.first(where: { $0.url.utf8.elementsEqual(url.utf8) }) else { return nil }
        self = type
    }
}
