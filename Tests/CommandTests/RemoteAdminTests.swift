import Glibc
import Testing

/// The operator's commands over the network, by SPIFFE ID.
@Suite(
    "Administrators by SPIFFE ID",
    .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY"),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2))
)
struct RemoteAdminTests {
    /// `minted NAME ID` makes an SVID in NAME.pem, `far NAME COMMAND ARGS…` asks with it over the network.
    private static let functions = """
        minted() { ca mint $2 --cert $1.crt --key $1.key --reason test >/dev/null 2>&1; cat $1.crt $1.key >$1.pem; }
        far() {
            local name=$1; shift
            $culvert "$@" --ca 127.0.0.1:15012 --svid $name.pem --ca-bundle data/bundle.pem 2>&1; echo "exit $?"
        }

        """

    @Test(
        "one that is named does everything, and the audit log has its name; all others are refused, whoever signed them"
    )
    func roles() throws {
        let output = try AuthorityPlay.output(
            of: Self.functions + """
                authority --admin-id spiffe://td.test/ns/ops/sa/admin
                minted admin spiffe://td.test/ns/ops/sa/admin
                minted web spiffe://td.test/ns/shop/sa/web
                minted near spiffe://td.test/ns/ops/sa/admin/x
                far admin ca status | grep -c '^root *active'
                far admin ca token create --node node-a | tail -1
                far admin ca prepare | tail -1
                far admin node show node-b
                grep '"token_created"' ca.log | grep -o '"adminID":"[^"]*"'
                grep '"token_created"' ca.log | grep -c adminUID
                grep '"rotation_step"' ca.log | grep -o '"adminID":"[^"]*"'
                ca abort >/dev/null 2>&1; grep -E '"rotation_(step|refused)"' ca.log | grep -c '"adminUID":"'$(id -u)'"'
                for name in web near; do far $name ca status; far $name ca token create --node node-a; done
                # A node is none: its own port takes its certificate, and that is all.
                ca "token create" --node node-a >token 2>/dev/null
                openssl ecparam -name prime256v1 -genkey -noout -out node.key; mkdir -m 700 run
                $culvert proxy run --node node-a --trust-domain td.test --run-dir run --state-dir state --ca 127.0.0.1:15012 \\
                    --ca-bundle data/bundle.pem --join-token-file token --admin-listen 127.0.0.1 2>proxy.log & proxy=$!
                settled [ -s state/node.pem ]; cp state/node.pem node.pem
                settled [ -s run/proxy.status ]; stat -c %a run/proxy.status; tr -d ' \\n' <run/proxy.status | grep -o '"identities":0'
                far node ca status
                # Nobody's certificate of the same name.
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.crt -days 1 -subj / \\
                    -addext "subjectAltName=critical,URI:spiffe://td.test/ns/ops/sa/admin" -addext "keyUsage=critical,digitalSignature" \\
                    -addext "basicConstraints=critical,CA:FALSE" 2>/dev/null
                cat own.crt own.key >own.pem
                far own ca status >refused; head -1 refused | cut -c1-46
                kill $proxy $ca; wait
                """)
        let refused = { (id: String) in
            "error: \(id) is no administrator of this authority\nhint: `culvert ca serve --admin-id` says who is\nexit 1\n"
        }
        let (web, near) = (refused("spiffe://td.test/ns/shop/sa/web"), refused("spiffe://td.test/ns/ops/sa/admin/x"))
        #expect(
            output == """
                1
                exit 0
                exit 0
                error: no node node-b has attested here
                exit 2
                "adminID":"spiffe://td.test/ns/ops/sa/admin"
                0
                "adminID":"spiffe://td.test/ns/ops/sa/admin"
                1
                \(web)\(web)\(near)\(near)600
                "identities":0
                \(refused("spiffe://td.test/culvert/node/node-a"))error: no authority answers at 127.0.0.1:15012

                """)
    }

    @Test("unless they are named there are none; a name that no workload can have is refused at the start")
    func none() throws {
        let output = try AuthorityPlay.output(
            of: Self.functions + """
                authority
                minted admin spiffe://td.test/ns/ops/sa/admin
                far admin ca status
                ended $ca
                for id in spiffe://td.test/culvert/node/node-a spiffe://other.test/ns/ops/sa/admin spiffe://td.test admin; do
                    $culvert ca serve --data data --mesh mesh.yaml --admin-socket ca.sock --admin-id $id 2>&1 | grep -o 'admin-id: .*'
                done
                $culvert ca status --ca 127.0.0.1:15012 2>&1 | head -1
                """)
        #expect(
            output == """
                error: the authority at 127.0.0.1:15012 knows no administrators but those of its admin socket
                hint: `culvert ca serve --admin-id` names some
                exit 1
                admin-id: spiffe://td.test/culvert/node/node-a is no workload of td.test
                admin-id: spiffe://other.test/ns/ops/sa/admin is no workload of td.test
                admin-id: spiffe://td.test is no workload of td.test
                admin-id: a SPIFFE ID begins with spiffe:// in lower case, then the trust domain
                Error: --ca, --svid and --ca-bundle belong together

                """)
    }
}
