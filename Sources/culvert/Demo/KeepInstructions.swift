import IPAddressing

/// The commands to try while `culvert demo --keep` runs.
struct KeepInstructions {
    let topology: DemoTopology
    let certificate: ClientCertificate

    var text: String {
        let (client, web, node) = (topology.client.networkNamespace, topology.web, topology.nodes[0].networkNamespace)
        let tunnel = SocketAddress(web.address.v4, port: 15008)
        let service = web.service!.addresses.v4
        let tls = "ip netns exec \(node) openssl s_client -connect \(tunnel) -alpn h2"
        let (chain, key) = (certificate.chainPath, certificate.keyPath)
        return """
            The demo goes on until Ctrl-C. In another terminal, as root:

              a program in an enrolled pod, by service and by pod address
                ip netns exec \(client) curl http://\(service)/
                ip netns exec \(client) curl http://\(web.address.v4):\(DemoTopology.Program.http.port)/

              what the wire shows of it: port 15008 only
                ip netns exec \(web.networkNamespace) tcpdump -ni eth0 tcp

              the tunnel port with a client certificate (TLS 1.3, ALPN h2), and without one (refused)
                \(tls) -cert \(chain) -cert_chain \(chain) -key \(key) -CAfile \(certificate.bundlePath) </dev/null
                \(tls) -ign_eof </dev/null

              a shell in a pod
                ip netns exec \(client) bash
            """
    }
}
