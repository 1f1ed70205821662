import FoundationEssentials
import Glibc
import Testing

/// `culvert cert inspect --connect` before servers of openssl, which hold a chain of `certs/plugin-intermediate`.
@Suite(
    "culvert cert inspect --connect",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY")
)
struct CertConnectTests {
    @Test("shows the chain of a server that refuses us for want of a certificate", arguments: ["tls1_3", "tls1_2"])
    func refused(version: String) throws {
        let output = try Self.asking("-\(version) -Verify 2 -verify_return_error", "")
        #expect(output.contains("Client certificate: asked for, none given"))
        #expect(output.contains("Then: the server refused us: "))
        #expect(output.contains(version == "tls1_3" ? "TLS: TLSv1.3, TLS_AES_" : "TLS: TLSv1.2, "))
        #expect(output.contains("spiffe://td.test/ns/shop/sa/web"))
        #expect(output.contains("Intermediate CA Certificate"))
        #expect(output.hasSuffix("exit 0\n"))
    }

    @Test("is let in with a certificate, and verifies the server's")
    func accepted() throws {
        let output = try Self.asking(
            "-tls1_3 -Verify 2 -verify_return_error", "--cert $d/chain.pem --key $d/key.pem --roots $d/ca/root-cert.pem"
        )
        #expect(output.contains("ALPN h2\n    Client certificate: asked for, given\n    Then: the server went on\n"))
        #expect(output.contains("Verified:    verified as client and as server, if these are the roots of td.test"))
        #expect(output.hasSuffix("exit 0\n"))
    }

    @Test("refuses a server whose chain does not lead to the roots")
    func foreignRoots() throws {
        let output = try Self.asking("-tls1_3", "--roots root.pem")
        #expect(output.contains("Client certificate: not asked for\n    Then: the server went on\n"))
        #expect(output.contains("none of them signed it"))
        #expect(output.hasSuffix("exit 5\n"))
    }

    @Test("says as JSON what it saw of the server")
    func json() throws {
        let output = try Self.asking("-tls1_3 -Verify 2 -verify_return_error", "--format json")
        #expect(output.contains(#""client_certificate" : "asked_for""#))
        #expect(output.contains(#""reception" : "refused""#))
        #expect(output.contains(#""alert" : "tlsv13 alert certificate required""#))
    }

    @Test(
        "says which file of ours cannot be used",
        arguments: ["--cert root.pem --key $d/key.pem", "--cert make.sh --key $d/key.pem"])
    func ownFiles(options: String) throws {
        let output = try Self.asking("-tls1_3", options)
        #expect(output.contains("cannot be used as our "))
        #expect(output.contains("hint: --"))
        #expect(output.hasSuffix("exit 2\n"))
    }

    @Test("gives a server that never answers the time it was told, and no more")
    func silence() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                guard bind(listener, generic, length) == 0, listen(listener, 1) == 0,
                    getsockname(listener, generic, &length) == 0
                else { return UInt16(0) }
                return UInt16(bigEndian: pointer.pointee.sin_port)
            }
        }
        try #require(port > 0)
        let output = try Transcript.run("timeout 60 culvert cert inspect --connect 127.0.0.1:\(port) --timeout 1s")
        #expect(
            output == """
                error: 127.0.0.1:\(port): no TLS handshake within 1s
                hint: give it longer with --timeout, or look whether it hangs
                exit 2

                """)
    }

    /// Starts a server for one connection and inspects it; `$d` holds what was made for it.
    private static func asking(_ server: String, _ options: String) throws -> String {
        let script = """
            d=$(mktemp -d)
            ../offline-root --trust-domain td.test --out $d/root >/dev/null
            ../plugin-intermediate --root $d/root --out $d/ca >/dev/null
            printf '%s\\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \\
                extendedKeyUsage=serverAuth,clientAuth subjectAltName=critical,URI:spiffe://td.test/ns/shop/sa/web >$d/ext
            openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $d/key.pem -subj / -out $d/csr 2>/dev/null
            openssl x509 -req -in $d/csr -CA $d/ca/ca-cert.pem -CAkey $d/ca/ca-key.pem -days 1 -extfile $d/ext \\
                -set_serial 7 -out $d/leaf.pem 2>/dev/null
            cat $d/leaf.pem $d/ca/ca-cert.pem >$d/chain.pem
            mkfifo $d/in; exec 3<>$d/in; echo hello >&3
            timeout 60 openssl s_server -accept 127.0.0.1:0 -naccept 1 -alpn h2 -cert $d/leaf.pem -key $d/key.pem \\
                -cert_chain $d/ca/ca-cert.pem -CAfile $d/ca/root-cert.pem \(server) <&3 >$d/log 2>&1 &
            server=$!
            tries=0
            until port=$(sed -n 's/^ACCEPT .*:\\([0-9]*\\)$/\\1/p' $d/log) && [ -n "$port" ]; do
                tries=$((tries + 1)); [ $tries -lt 200 ] || { cat $d/log; break; }; sleep 0.05
            done
            timeout 60 culvert cert inspect --format short --connect 127.0.0.1:$port \(options)
            status=$?; kill $server 2>/dev/null; rm -r $d; (exit $status)
            """
        return try Transcript.run(script)
    }
}
