import FoundationEssentials
import Glibc
import Testing

/// `culvert ca serve`, asked by a client that shares nothing with it: Python's grpcio, with protobuf bytes written by hand.
@Suite(
    "A foreign client takes certificates by Istio's CreateCertificate",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: ForeignClient.grpcio != nil, "needs grpcio: run `make grpcio`"), .serialized,
    .timeLimit(.minutes(3))
)
struct IstioClientTests {
    /// What a test's script begins with: an authority for two nodes, and `client.py`.
    private static func scene() throws -> String {
        let grpcio = try #require(ForeignClient.grpcio)
        return """
            export PYTHONPATH=\(grpcio)
            cat >mesh.yaml <<END
            trustDomain: td.test
            namespaces: [{name: shop}]
            pods:
              - {uid: a, name: a, namespace: shop, node: node-a, serviceAccount: web, addresses: [10.1.0.1]}
              - {uid: b, name: b, namespace: shop, node: node-b, serviceAccount: db, addresses: [10.1.0.2]}
            END
            cat >client.py <<'END'
            \(client)
            END
            authority --serving-name istiod.test --leaf-ttl 10m
            token=$(ca "token create" --node node-a 2>/dev/null)
            openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj / \\
                -addext "subjectAltName=critical,URI:spiffe://td.test/ns/shop/sa/web" -out csr.pem 2>/dev/null

            """
    }

    private static let client = """
        import grpc, subprocess

        def varint(n):
            out = b""
            while n > 127: out, n = out + bytes([n & 127 | 128]), n >> 7
            return out + bytes([n])

        def field(number, data): return varint(number << 3 | 2) + varint(len(data)) + data

        def fields(data):
            while data:
                tag, data = data[0], data[1:]
                size = shift = 0
                while True:
                    byte, data = data[0], data[1:]
                    size, shift = size | (byte & 127) << shift, shift + 7
                    if byte < 128: break
                yield tag >> 3, data[:size]
                data = data[size:]

        web, csr = "spiffe://td.test/ns/shop/sa/web", open("csr.pem").read()

        def request(csr=csr, identity=web, seconds=86400, key="ImpersonatedIdentity"):
            entry = field(1, key.encode()) + field(2, field(3, identity.encode()))
            duration = b"\\x18" + varint(seconds)
            return field(1, csr.encode()) + duration + (field(4, field(1, entry)) if identity else b"")

        def channel(address, key=None, chain=None):
            roots = open("data/bundle.pem", "rb").read()
            credentials = grpc.ssl_channel_credentials(roots, key, chain)
            return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "istiod.test")])

        def call(channel, message, *metadata, method="/istio.v1.auth.IstioCertificateService/CreateCertificate"):
            try:
                stub = channel.unary_unary(method, lambda b: b, lambda b: b)
                return [text for number, text in fields(stub(message, metadata=metadata, timeout=20)) if number == 1]
            except grpc.RpcError as error:
                return error.code().name

        def bearer(token): return ("authorization", "Bearer " + token)
        """

    @Test("with a token: the chain that it gets is openssl's to verify, and every wrong request has its status")
    func token() throws {
        let output = try AuthorityPlay.output(
            of: Self.scene() + """
                cat >test.py <<'END'
                import sys
                from client import *
                token, open_channel = sys.argv[1], channel("127.0.0.1:15011")
                answer = call(open_channel, request(), bearer(token), ("clusterid", "Kubernetes"))
                print("granted", len(answer))
                for name, text in zip(["leaf", "intermediate", "root"], answer): open(name + ".pem", "wb").write(text)
                wrong = csr.replace("-\\nM", "-\\nN", 1)
                for name, message, metadata in [
                    ("another node's pod", request(identity="spiffe://td.test/ns/shop/sa/db"), [bearer(token)]),
                    ("unknown account", request(identity="spiffe://td.test/ns/shop/sa/nobody"), [bearer(token)]),
                    ("no impersonation", request(identity=""), [bearer(token)]),
                    ("impersonation under another key", request(key="Impersonated"), [bearer(token)]),
                    ("foreign trust domain", request(identity="spiffe://other.test/ns/shop/sa/web"), [bearer(token)]),
                    ("a node", request(identity="spiffe://td.test/culvert/node/node-a"), [bearer(token)]),
                    ("malformed csr", request(csr=wrong), [bearer(token)]),
                    ("no csr", request(csr=""), [bearer(token)]),
                    ("large csr", request(csr=csr + " " * 20000), [bearer(token)]),
                    ("oversize message", request(csr=csr + " " * (2 << 20)), [bearer(token)]),
                    ("91 days", request(seconds=91 * 86400), [bearer(token)]),
                    ("not protobuf", b"\\xff\\xff", [bearer(token)]),
                    ("no token", request(), []),
                    ("another scheme", request(), [("authorization", "Basic " + token)]),
                    ("two tokens", request(), [bearer(token), bearer(token)]),
                    ("a guessed token", request(), [bearer("cvt-" + "0" * 64)]),
                    ("still good", request(), [bearer(token)]),
                ]:
                    answer = call(open_channel, message, *metadata)
                    # The stream is reset; how a client calls that is its own affair.
                    if answer == "CANCELLED": answer = "RESOURCE_EXHAUSTED"
                    print(name, "-", answer if isinstance(answer, str) else "granted")
                END
                python3 test.py $token
                openssl verify -x509_strict -purpose sslserver -CAfile root.pem -untrusted intermediate.pem leaf.pem
                cmp root.pem data/bundle.pem && echo "the roots are the bundle"
                openssl x509 -in leaf.pem -noout -ext subjectAltName | tail -1
                openssl pkey -in key.pem -pubout >a; openssl x509 -in leaf.pem -noout -pubkey >b; cmp a b && echo "keys fit"
                openssl x509 -in leaf.pem -noout -checkend 610 >/dev/null || echo "cut to 10 minutes"
                grep -c 'SVID signed.*clampedFrom' ca.log
                ended $ca; echo "exit $?"
                """)
        #expect(
            output == """
                granted 3
                another node's pod - NOT_FOUND
                unknown account - NOT_FOUND
                no impersonation - INVALID_ARGUMENT
                impersonation under another key - INVALID_ARGUMENT
                foreign trust domain - INVALID_ARGUMENT
                a node - INVALID_ARGUMENT
                malformed csr - INVALID_ARGUMENT
                no csr - INVALID_ARGUMENT
                large csr - INVALID_ARGUMENT
                oversize message - RESOURCE_EXHAUSTED
                91 days - INVALID_ARGUMENT
                not protobuf - INVALID_ARGUMENT
                no token - UNAUTHENTICATED
                another scheme - UNAUTHENTICATED
                two tokens - UNAUTHENTICATED
                a guessed token - UNAUTHENTICATED
                still good - granted
                leaf.pem: OK
                the roots are the bundle
                    URI:spiffe://td.test/ns/shop/sa/web
                keys fit
                cut to 10 minutes
                2
                exit 0

                """)
    }

    @Test("with a node's certificate: it attests by itself, and then gets its own pods' identities and no others")
    func certificate() throws {
        let output = try AuthorityPlay.output(
            of: Self.scene() + """
                openssl req -in csr.pem -outform der -out csr.der
                cat >test.py <<'END'
                import ssl, sys
                from client import *
                token = sys.argv[1]
                attest = field(1, token.encode()) + field(2, open("csr.der", "rb").read())
                chain = call(channel("127.0.0.1:15011"), attest,
                    method="/culvert.authority.v1.NodeAttestation/AttestNode")
                print("attested", len(chain))
                chain = "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
                nodes = channel("127.0.0.1:15012", open("key.pem", "rb").read(), chain)
                for name, open_channel, message, metadata in [
                    ("its pod", nodes, request(), []),
                    ("another node's pod", nodes, request(identity="spiffe://td.test/ns/shop/sa/db"), []),
                    ("a token that was traded", channel("127.0.0.1:15011"), request(), [bearer(token)]),
                    ("no certificate", channel("127.0.0.1:15012"), request(), [bearer(token)]),
                ]:
                    answer = call(open_channel, message, *metadata)
                    print(name, "-", answer if isinstance(answer, str) else "granted")
                END
                python3 test.py $token 2>/dev/null
                ended $ca; echo "exit $?"
                """)
        #expect(
            output == """
                attested 2
                its pod - granted
                another node's pod - NOT_FOUND
                a token that was traded - UNAUTHENTICATED
                no certificate - UNAVAILABLE
                exit 0

                """)
    }
}

private enum ForeignClient {
    /// Where `make grpcio` puts it.
    static let grpcio: String? = {
        let path = URL(filePath: Transcript.fixtures).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: ".build/grpcio").path()
        return access(path, F_OK) == 0 ? path : nil
    }()
}
