import FoundationEssentials
import IPAddressing
import MeshState
import SwiftProtobuf
import Testing

@testable import MeshAPI

/// The hexadecimal constants were made with `protoc --encode` from the text form of the same message.
@Suite("Messages on the wire")
struct WireTests {
    static let workload = bytes(
        "0a640a057765622d31120473686f701a040af401022801320c63756c766572742e64656d6f3a037765624a066e6f64652d616002"
            + "a201027531b2012a0a1f73686f702f7765622e73686f702e7376632e636c75737465722e6c6f63616c12070a05085010903f")
    static let service = bytes(
        "12360a03776562120473686f701a1a7765622e73686f702e7376632e636c75737465722e6c6f63616c220612040a60000a2a05085010903f"
    )

    @Test("a workload has the bytes that protoc gives it")
    func workloadBytes() throws {
        #expect([UInt8](DiscoveryResource(try web()).message.resource.value) == Self.workload)
    }

    @Test("a service has the bytes that protoc gives it")
    func serviceBytes() throws {
        #expect(
            [UInt8](DiscoveryResource(try webService(address: "10.96.0.10")).message.resource.value) == Self.service)
    }

    @Test("a discovery request has the bytes that protoc gives it")
    func request() throws {
        let request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest.with {
            $0.node.id = "n"
            $0.typeURL = "t"
            $0.resourceNamesSubscribe = ["*"]
            $0.initialResourceVersions = ["a": "1"]
            $0.responseNonce = "7"
            $0.errorDetail.code = 3
            $0.errorDetail.message = "bad"
        }
        let golden = bytes("0a030a016e1201741a012a2a060a01611201313201373a0708031203626164")
        #expect(try request.serializedBytes() as [UInt8] == golden)
        #expect(try Envoy_Service_Discovery_V3_DeltaDiscoveryRequest(serializedBytes: golden) == request)
    }

    @Test("a discovery response has the bytes that protoc gives it")
    func response() throws {
        let response = Envoy_Service_Discovery_V3_DeltaDiscoveryResponse.with {
            $0.resources = [
                .with {
                    $0.name = "a"
                    $0.version = "1"
                }
            ]
            $0.typeURL = "t"
            $0.removedResources = ["b"]
            $0.nonce = "7"
        }
        let golden = bytes("12060a01311a01612201742a0137320162")
        #expect(try response.serializedBytes() as [UInt8] == golden)
        #expect(try Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: golden) == response)
    }

    @Test("a request for an SVID has the bytes that protoc gives it")
    func issue() throws {
        let request = Culvert_Authority_V1_IssueSVIDRequest.with {
            $0.podUid = "u1"
            $0.csr = Data([1])
        }
        #expect(try request.serializedBytes() as [UInt8] == bytes("0a027531120101"))
    }
}
