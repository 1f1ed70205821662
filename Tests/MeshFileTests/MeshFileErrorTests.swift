import MeshFile
import Testing

/// Every way in which a mesh file can be wrong, with the exact words that the operator reads.
@Suite("Mesh file errors")
struct MeshFileErrorTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        /// Lines that replace parts of the valid file: what, with what.
        let edits: [(String, String)]
        let errors: [String]

        init(_ name: String, _ edits: (String, String)..., errors: [String]) {
            self.name = name
            self.edits = edits
            self.errors = errors
        }

        var testDescription: String { name }
    }

    static let valid = """
        trustDomain: culvert.demo
        namespaces:
          - name: shop
            labels: {culvert.dev/mtls-enabled: "true"}
        pods:
          - uid: 6f1c
            name: web-1
            namespace: shop
            serviceAccount: web
            node: node-a
            addresses: [10.244.1.2, "fd00:10:244:1::2"]
            netns: /run/netns/pod-web
          - uid: 7a20
            name: db-1
            namespace: shop
            node: node-b
            addresses: [10.244.2.2]
        services:
          - name: web
            namespace: shop
            addresses: [10.96.0.10]
            ports: [{port: 80, targetPort: 8080}]
            pods: [web-1]

        """

    static let cases: [Case] = [
        Case(
            "a mode that is none", ("labels: {culvert.dev/mtls-enabled: \"true\"}", "mtlsMode: STRICT"),
            errors: ["mesh.yaml:4:15: expected the mode strict or permissive, got \"STRICT\""]),
        Case(
            "exclusions that are none",
            (
                "labels: {culvert.dev/mtls-enabled: \"true\"}",
                "excludeInboundPorts: [0, 15008, \"80\"]\n    excludeOutboundPorts: 25"
            ),
            (
                "serviceAccount: web",
                "excludeOutboundCIDRs: [10.0.0.1/8, 0.0.0.0/0, \"fd00:0::/8\", \"::ffff:10.0.0.0/104\", 10.1.0.0/16]"
            ),
            errors: [
                "mesh.yaml:4:27: expected an excluded inbound port as a number from 1 to 65535, got the number 0",
                "mesh.yaml:4:30: expected an excluded inbound port of the application, got 15008, which is the proxy's own",
                "mesh.yaml:4:37: expected an excluded inbound port as a number from 1 to 65535, got \"80\"",
                "mesh.yaml:5:27: expected excluded outbound ports as a list, got the number 25",
                """
                mesh.yaml:10:28: expected an excluded CIDR such as 10.1.0.0/16, with no bits set beyond its length, \
                got "10.0.0.1/8"
                """,
                "mesh.yaml:10:40: expected an excluded CIDR that is not everything, got \"0.0.0.0/0\"; *",
                """
                mesh.yaml:10:51: expected an excluded CIDR such as 10.1.0.0/16, with no bits set beyond its length, \
                got "fd00:0::/8"
                """,
                """
                mesh.yaml:10:65: expected an excluded CIDR such as 10.1.0.0/16, with no bits set beyond its length, \
                got "::ffff:10.0.0.0/104"
                """,
            ]),
        Case(
            "more exclusions than there may be",
            (
                "serviceAccount: web",
                "excludeInboundPorts: [\((1...33).map(String.init).joined(separator: ", "))]"
            ),
            errors: ["mesh.yaml:9:26: expected at most 32 excluded inbound ports, got 33"]),
        Case(
            "an unknown key at the top", ("services:", "servics:"),
            errors: [
                """
                mesh.yaml:18:1: expected in the mesh one of the keys trustDomain, namespaces, pods, services, \
                enrolmentLabel, got "servics"
                """
            ]),
        Case(
            "an unknown key in a pod", ("serviceAccount: web", "serviceaccount: web"),
            errors: [
                """
                mesh.yaml:9:5: expected in a pod one of the keys uid, name, namespace, node, addresses, \
                serviceAccount, netns, labels, excludeInboundPorts, excludeOutboundPorts, excludeOutboundCIDRs, \
                got "serviceaccount"
                """
            ]),
        Case(
            "a missing key", ("trustDomain: culvert.demo\n", ""),
            errors: ["mesh.yaml:1:1: expected in the mesh the key 'trustDomain', got none"]),
        Case(
            "a missing key in a pod", ("    node: node-b\n", ""),
            errors: ["mesh.yaml:13:5: expected in a pod the key 'node', got none"]),
        Case(
            "a list where a mapping belongs", ("{port: 80, targetPort: 8080}", "[80, 8080]"),
            errors: ["mesh.yaml:22:13: expected a port as a mapping, got a list"]),
        Case(
            "a string where a list belongs", ("[10.96.0.10]", "10.96.0.10"),
            errors: ["mesh.yaml:21:16: expected addresses as a list, got \"10.96.0.10\""]),
        Case(
            "a number where a string belongs", ("serviceAccount: web", "serviceAccount: 12"),
            errors: ["mesh.yaml:9:21: expected a service account as a string, got the number 12; write \"12\""]),
        Case(
            "a boolean label", ("\"true\"", "true"),
            errors: [
                """
                mesh.yaml:4:40: expected the value of label culvert.dev/mtls-enabled as a string, got the boolean true; \
                write "true"
                """
            ]),
        Case(
            "nothing where a string belongs", ("serviceAccount: web", "serviceAccount:"),
            errors: ["mesh.yaml:9:20: expected a service account as a string, got nothing"]),
        Case(
            "labels that are a list", ("{culvert.dev/mtls-enabled: \"true\"}", "[a]"),
            errors: ["mesh.yaml:4:13: expected labels as a mapping, got a list"]),
        Case(
            "a bad label key", ("culvert.dev/mtls-enabled", "a b"),
            errors: ["mesh.yaml:4:14: expected a label key of the form [prefix/]name, got \"a b\""]),
        Case(
            "a bad label value", ("\"true\"", "\"-true\""),
            errors: [
                """
                mesh.yaml:4:40: expected the value of label culvert.dev/mtls-enabled of at most 63 letters, digits, '.', '_' \
                and '-', a letter or digit at both ends, got "-true"
                """
            ]),
        Case(
            "a bad trust domain", ("culvert.demo", "Culvert.demo"),
            errors: ["mesh.yaml:1:14: expected a trust domain, got \"Culvert.demo\": *"]),
        Case(
            "a bad namespace name", ("- name: shop", "- name: Shop"), ("namespace: shop", "namespace: Shop"),
            errors: ["mesh.yaml:3:11", "mesh.yaml:8:16", "mesh.yaml:15:16", "mesh.yaml:20:16"].map {
                """
                \($0): expected a namespace name of 1 to 63 lower-case letters, digits and '-', a letter or digit at both \
                ends, got "Shop"
                """
            }),
        Case(
            "a bad uid", ("6f1c", "a/b"),
            errors: [
                """
                mesh.yaml:6:10: expected a uid of 1 to 128 letters, digits, '.', '_' and '-', a letter or digit first, got "a/b"
                """
            ]),
        Case(
            "a uid that is a directory", ("6f1c", "\"..\""),
            errors: [
                """
                mesh.yaml:6:10: expected a uid of 1 to 128 letters, digits, '.', '_' and '-', a letter or digit first, got ".."
                """
            ]),
        Case(
            "a bad service account", ("serviceAccount: web", "serviceAccount: web/../db"),
            errors: [
                """
                mesh.yaml:9:21: expected a service account of at most 253 lower-case letters, digits, '-' and '.', a letter \
                or digit at both ends of each part, got "web/../db"
                """
            ]),
        Case(
            "a relative netns", ("/run/netns/pod-web", "pod-web"),
            errors: [
                "mesh.yaml:12:12: expected a netns of an absolute path of at most 4095 bytes, without control characters, got \"pod-web\""
            ]),
        Case(
            "a bad address", ("10.244.2.2", "10.244.2.02"),
            errors: ["mesh.yaml:17:17: expected the IPv4 or IPv6 address of one host, got \"10.244.2.02\""]),
        Case(
            "a loopback address", ("10.244.2.2", "127.0.0.1"),
            errors: ["mesh.yaml:17:17: expected the IPv4 or IPv6 address of one host, got \"127.0.0.1\""]),
        Case(
            "no address", ("[10.244.2.2]", "[]"),
            errors: ["mesh.yaml:17:16: expected at least one address of the pod, got an empty list"]),
        Case(
            "port zero", ("port: 80,", "port: 0,"),
            errors: ["mesh.yaml:22:20: expected a port as a number from 1 to 65535, got the number 0"]),
        Case(
            "a port too large", ("targetPort: 8080", "targetPort: 65536"),
            errors: ["mesh.yaml:22:36: expected a target port as a number from 1 to 65535, got the number 65536"]),
        Case(
            "a quoted port", ("port: 80,", "port: \"80\","),
            errors: ["mesh.yaml:22:20: expected a port as a number from 1 to 65535, got \"80\""]),
        Case(
            "an octal port", ("port: 80,", "port: 080,"),
            errors: ["mesh.yaml:22:20: expected a port as a number from 1 to 65535, got the number 080"]),
        Case(
            "an unlisted namespace", ("    node: node-b\n", "    node: node-b\n"),
            ("db-1\n    namespace: shop", "db-1\n    namespace: bank"),
            errors: ["mesh.yaml:15:16: expected a namespace listed under 'namespaces', got \"bank\""]),
        Case(
            "an endpoint that is no pod", ("pods: [web-1]", "pods: [web-2]"),
            errors: ["mesh.yaml:23:12: expected the name of a pod in namespace shop, got \"web-2\""]),
        Case(
            "an endpoint twice", ("pods: [web-1]", "pods: [web-1, web-1]"),
            errors: [
                "mesh.yaml:23:19: expected a pod of the service used once, got \"web-1\" again (first in line 23)"
            ]),
        Case(
            "a uid twice", ("7a20", "6f1c"),
            errors: ["mesh.yaml:13:10: expected a uid used once, got \"6f1c\" again (first in line 6)"]),
        Case(
            "a pod name twice", ("db-1", "web-1"),
            errors: [
                "mesh.yaml:14:11: expected a pod name in namespace shop used once, got \"web-1\" again (first in line 7)"
            ]),
        Case(
            "an address twice", ("10.244.2.2", "10.244.1.2"),
            errors: ["mesh.yaml:17:17: expected an address used once, got \"10.244.1.2\" again (first in line 11)"]),
        Case(
            "an address twice in two spellings", ("10.244.2.2", "\"fd00:10:244:1:0::2\""),
            errors: [
                "mesh.yaml:17:17: expected an address used once, got \"fd00:10:244:1:0::2\" again (first in line 11)"
            ]),
        Case(
            "a pod's address as a virtual one", ("10.96.0.10", "10.244.1.2"),
            errors: ["mesh.yaml:21:17: expected an address used once, got \"10.244.1.2\" again (first in line 11)"]),
        Case(
            "a netns twice on one node", ("node: node-b", "node: node-a\n    netns: /run/netns/pod-web"),
            errors: [
                """
                mesh.yaml:17:12: expected a netns on node node-a used once, got "/run/netns/pod-web" again \
                (first in line 12)
                """
            ]),
        Case(
            "a namespace twice", ("pods:\n  - uid", "  - name: shop\npods:\n  - uid"),
            errors: ["mesh.yaml:5:11: expected a namespace name used once, got \"shop\" again (first in line 3)"]),
        Case(
            "a service port twice", ("8080}]", "8080}, {port: 80}]"),
            errors: ["mesh.yaml:22:50: expected a port of the service used once, got \"80\" again (first in line 22)"]),
        Case(
            "a service twice",
            ("pods: [web-1]", "pods: [web-1]\n  - {name: web, namespace: shop, hostname: w, ports: []}"),
            errors: [
                "mesh.yaml:24:12: expected a service name in namespace shop used once, got \"web\" again (first in line 19)"
            ]),
        Case(
            "a hostname twice",
            (
                "pods: [web-1]",
                "pods: [web-1]\n  - {name: w, namespace: shop, hostname: web.shop.svc.cluster.local, ports: []}"
            ),
            errors: [
                """
                mesh.yaml:24:42: expected a hostname in namespace shop used once, got "web.shop.svc.cluster.local" again \
                (first in line 19)
                """
            ]),
        Case(
            "a key twice", ("    netns:", "    node: node-b\n    netns:"),
            errors: ["mesh.yaml:10:5: expected each key once, got 'node' again"]),
        Case(
            "an alias", ("serviceAccount: web", "serviceAccount: &web web"), ("pods: [web-1]", "pods: [*web]"),
            errors: ["mesh.yaml:23:12: expected every value written out, got the alias '*web'"]),
        Case(
            "a tab", ("    name: web-1", "\tname: web-1"),
            errors: ["mesh.yaml:7:1: expected YAML, got: found a tab character that violates indentation"]),
        Case(
            "a control character", ("web-1", "web\u{1}-1"),
            errors: ["mesh.yaml:7:14: expected YAML, got: control characters are not allowed"]),
        Case(
            "an escape sequence in a string", ("db-1", "\"\\e[2J\""),
            errors: [
                """
                mesh.yaml:14:11: expected a pod name of at most 253 lower-case letters, digits, '-' and '.', a letter or \
                digit at both ends of each part, got "\\u{1B}[2J"
                """
            ]),
        Case(
            "two documents", ("services:", "---\nservices:"),
            errors: ["mesh.yaml:18:1: expected YAML, got: but found another document"]),
        Case(
            "several at once", ("6f1c", "[]"), ("10.244.2.2", "x"), ("port: 80,", "port: no,"),
            errors: [
                "mesh.yaml:6:10: expected a uid as a string, got a list",
                "mesh.yaml:17:17: expected the IPv4 or IPv6 address of one host, got \"x\"",
                "mesh.yaml:22:20: expected a port as a number from 1 to 65535, got \"no\"",
            ]),
    ]

    @Test("says where it is, what was expected and what was found", arguments: cases)
    func error(_ wrong: Case) throws {
        var text = Self.valid
        for (what, with) in wrong.edits { text = text.replacing(what, with: with) }
        let error = try #require(throws: MeshFileError.self) { try MeshFile.parse(text: text, name: "mesh.yaml") }
        let lines = error.description.split(separator: "\n").map(String.init)
        #expect(lines.count == wrong.errors.count, "\(error)")
        for (line, expected) in zip(lines, wrong.errors) {
            // A star stands for words of another module.
            if expected.hasSuffix("*") {
                #expect(line.hasPrefix(expected.dropLast()))
            } else {
                #expect(line == expected)
            }
        }
    }

    @Test("keeps fifty problems and counts the rest")
    func bounded() throws {
        let text = "trustDomain: a\npods: [" + Array(repeating: "1", count: 60).joined(separator: ", ") + "]"
        let error = try #require(throws: MeshFileError.self) { try MeshFile.parse(text: text, name: "mesh.yaml") }
        #expect(error.problems.count == 50)
        #expect(error.omitted == 10)
        #expect(error.description.hasSuffix("mesh.yaml: and 10 more"))
    }

    @Test("refuses an empty text, a bomb of aliases, a bomb of brackets and a text too large")
    func bombs() {
        let names = (0..<30).map {
            "a\($0): &a\($0) [" + Array(repeating: "*a\($0 - 1)", count: 9).joined(separator: ",")
        }
        let bombs = [
            "", "# nothing\n", names.joined(separator: "]\n"), String(repeating: "[", count: 1_000_000),
            String(repeating: "- ", count: 100_000), String(repeating: "{a: ", count: 100_000),
            String(repeating: "?", count: 100_000),
            "a: b\n" + String(repeating: " ", count: MeshFile.bytesMax),
        ]
        for bomb in bombs {
            #expect(throws: MeshFileError.self) { try MeshFile.parse(text: bomb, name: "mesh.yaml") }
        }
    }
}
