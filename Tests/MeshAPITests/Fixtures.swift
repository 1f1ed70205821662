import IPAddressing
import MeshState
import SPIFFE
import SwiftProtobuf
import Testing

@testable import MeshAPI

// swift-format-ignore: NeverUseForceTry
let demo = try! TrustDomain("culvert.demo")

/// The bytes that a string of hexadecimal digits stands for.
func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

func web(_ uid: String = "u1", address: String = "10.244.1.2", isStrict: Bool = false) throws -> Workload {
    try Workload(
        uid: uid, name: "web-1", namespace: "shop", serviceAccount: "web", trustDomain: demo, node: "node-a",
        addresses: [try #require(IPAddress(address))], tunnelProtocol: .hbone, refusesPlaintext: isStrict,
        services: [ServiceName(namespace: "shop", hostname: "web.shop.svc.cluster.local"): [80: 8080]])
}

func webService(address: String = "10.96.0.10") throws -> Service {
    Service(
        name: ServiceName(namespace: "shop", hostname: "web.shop.svc.cluster.local"), shortName: "web",
        addresses: [try #require(IPAddress(address))], ports: [80: 8080])
}

let webInfo = ZDSWorkloadInfo(name: "web-1", namespace: "shop", serviceAccount: "web")

/// Waits until something is so, at most `limit`; whether it came about.
func eventually(within limit: Duration = .seconds(10), _ condition: () async -> Bool) async -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return await condition()
}

extension DiscoveryResource {
    /// As a client reads it.
    var message: Envoy_Service_Discovery_V3_Resource {
        do {
            return try Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: encoded).resources[0]
        } catch {
            preconditionFailure("\(name) is encoded wrongly: \(error)")
        }
    }
}
