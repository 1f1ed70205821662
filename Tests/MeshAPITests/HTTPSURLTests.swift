import IPAddressing
import Testing

@testable import MeshAPI

@Suite("Where servers are found")
struct HTTPSURLTests {
    @Test(
        "an https URL is read",
        arguments: [
            ("https://a.example", "a.example", 443, "/"), ("https://a.example/", "a.example", 443, "/"),
            ("https://a.example:8443/b?c=d", "a.example", 8443, "/b?c=d"), ("HTTPS://a/b", "a", 443, "/b"),
            ("https://a?q", "a", 443, "/?q"), ("https://10.0.0.1:1/x", "10.0.0.1", 1, "/x"),
            ("https://[fd00::1]/x", "fd00::1", 443, "/x"), ("https://[fd00::1]:8443/x", "fd00::1", 8443, "/x"),
        ])
    func reads(text: String, host: String, port: Int, path: String) throws {
        let url = try #require(HTTPSURL(text))
        #expect((url.server.host, Int(url.server.port), url.path) == (host, port, path))
        #expect(HTTPSURL(url.description) == url)
    }

    @Test(
        "anything else is none",
        arguments: [
            "", "a.example", "http://a.example/", "https://", "https:///b", "https://u@a/", "https://u:p@a/",
            "https://a/#f", "https://a b/", "https://a/b c", "https://a:0/", "https://a:65536/", "https://a:x/",
            "https://fd00::1/", "https://[fd00::1", "https://a_b/", "https://a..b/", "https://1.2.3/", "ftp://a/",
            "https://\u{e4}.example/", "https://a/\u{e4}", "https://a/\n",
            "https://a/" + String(repeating: "b", count: 2048),
        ])
    func refuses(text: String) { #expect(HTTPSURL(text) == nil) }

    @Test(
        "a redirection stays with https",
        arguments: [
            ("/b", "https://a.example/b"), ("https://b.example/c", "https://b.example/c"), ("http://a.example/", nil),
            ("//b.example/c", nil), ("b", nil), ("", nil), ("/b c", nil),
        ])
    func redirections(location: String, target: String?) throws {
        let url = try #require(HTTPSURL("https://a.example/x"))
        #expect(url.redirected(to: location)?.description == target)
    }

    @Test(
        "a server is found by name or address, and a port",
        arguments: [
            ("istiod.istio-system.svc:15012", true), ("10.0.0.1:15012", true), ("[fd00::1]:15012", true),
            ("localhost:1", true), ("a", false), ("a:", false), (":1", false), ("a:0", false), ("a:65536", false),
            ("fd00::1:15012", false), ("256.0.0.1:1", false), ("a b:1", false), ("[10.0.0.1]:1", false),
        ])
    func servers(text: String, isOne: Bool) throws {
        let server = HostPort(text)
        #expect((server != nil) == isOne)
        if let server { #expect(server.description == text) }
    }
}
