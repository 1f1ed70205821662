import Testing

@testable import culvert

@Suite("The commands that --keep prints")
struct KeepInstructionsTests {
    @Test("enter the pods and knock at the tunnel port, with and without the certificate")
    func commands() {
        let certificate = ClientCertificate(chainPath: "/d/c.pem", keyPath: "/d/c.key", bundlePath: "/d/b.pem")
        let lines = KeepInstructions(topology: DemoTopology(), certificate: certificate).text.split(separator: "\n")
            .map { $0.drop { $0 == " " } }
        #expect(lines.contains("ip netns exec culvert-demo-pod-client curl http://10.96.0.10/"))
        let knock = "ip netns exec culvert-demo-node-a openssl s_client -connect 10.244.2.2:15008 -alpn h2"
        #expect(
            lines.contains("\(knock) -cert /d/c.pem -cert_chain /d/c.pem -key /d/c.key -CAfile /d/b.pem </dev/null"))
        #expect(lines.contains("\(knock) -ign_eof </dev/null"))
    }
}
