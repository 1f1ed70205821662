import Glibc
import Testing

@testable import CNI

@Suite("The node's network configuration")
struct ConflistTests {
    private static let settings = PluginSettings()
    static let flannel = """
        {
          "name": "cbr0",
          "cniVersion": "0.3.1",
          "plugins": [
            {
              "type": "flannel",
              "delegate": { "hairpinMode": true,   "x": "\\u00e9" }
            },
            { "type": "portmap", "capabilities": { "portMappings": true } }
          ]
        }

        """

    private func added(_ text: String, _ settings: PluginSettings = settings) throws -> String? {
        try Conflist.adding(settings, to: Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test(
        "gets the plugin at its end, once; without it, it is again what it was, byte for byte",
        arguments: [
            flannel, "{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"ptp\"}]}",
            "{\"plugins\": [\n\t{\"type\": \"a\"},{\"type\": \"b\"}\n]}\r\n",
            "{\"plugins\":[ {\"type\":\"a\"} ] , \"name\" : \"x\"}",
        ])
    func roundTrip(_ text: String) throws {
        let changed = try #require(try added(text))
        #expect(try added(changed) == nil)
        let json = try JSONText(Array(changed.utf8))
        let plugins = try #require(json.root["plugins"]?.elements)
        #expect(
            plugins.last?["type"]?.string == "culvert-cni"
                && plugins.count(where: { $0["type"]?.string == "culvert-cni" }) == 1)
        #expect(plugins.last.map(json.text) == Self.settings.json)
        let removed = try #require(try Conflist.removing(from: Array(changed.utf8)))
        #expect(String(decoding: removed, as: UTF8.self) == text)
        #expect(try Conflist.removing(from: Array(text.utf8)) == nil)
        // With other settings it is replaced; behind a plugin that came later, moved.
        let other = PluginSettings(runDirectory: "/run/b", exemptNamespaces: ["kube-system", "x\"y"])
        let replaced = try #require(try added(changed, other))
        #expect(try Conflist.removing(from: Array(replaced.utf8)).map { String(decoding: $0, as: UTF8.self) } == text)
        let settings = try PluginSettings(try JSONText(Array(replaced.utf8)).root["plugins"]?.elements?.last)
        #expect(settings == other)
    }

    @Test("what is none is refused with the reason")
    func refused() {
        for text in [
            "", "{}", "[]", "{\"plugins\": []}", "{\"plugins\": {}}",
            "{\"cniVersion\": \"0.1.0\", \"plugins\": [{\"type\": \"a\"}]}",
        ] {
            #expect(throws: Conflist.Problem.self) { _ = try added(text) }
        }
        #expect(throws: Conflist.Problem.self) { _ = try added("{\"plugins\": [\(Self.settings.json)]}") }
        #expect(throws: Conflist.Problem.self) {
            _ = try Conflist.wrapping(Array("{\"name\": \"x\"}".utf8), Self.settings)
        }
    }

    // MARK: - In directories

    private final class Node {
        let path: String
        init() throws {
            var template = Array("/tmp/cvt-cni-XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            for name in ["/net.d", "/bin"] { try #require(mkdir(path + name, 0o755) == 0) }
            try SmallFile.write(Array("#!/bin/sh\n".utf8), to: path + "/program", mode: 0o700)
        }
        deinit {
            for directory in ["/net.d", "/bin", ""] {
                for name in SmallFile.names(path + directory) { unlink("\(path)\(directory)/\(name)") }
                rmdir(path + directory)
            }
        }

        var installation: CNIInstallation {
            CNIInstallation(
                configurationDirectory: path + "/net.d", binaryDirectory: path + "/bin",
                executable: path + "/program", settings: settings)
        }
        func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
            try SmallFile.write(Array(text.utf8), to: "\(path)/net.d/\(name)", mode: mode)
        }
        func read(_ name: String) -> String? {
            (try? SmallFile.read("\(path)/net.d/\(name)", bytesMax: 1 << 20)).map {
                String(decoding: $0, as: UTF8.self)
            }
        }
        var names: [String] { SmallFile.names(path + "/net.d") }
        func mode(_ name: String) -> mode_t {
            var status = stat()
            return lstat("\(path)/\(name)", &status) == 0 ? status.st_mode & 0o7777 : 0
        }
    }

    @Test("the first one in the directory is changed, others are not; again and again, and back")
    func install() throws {
        let node = try Node()
        #expect(try node.installation.install() == .waiting)
        #expect(node.mode("bin/culvert-cni") == 0o755)
        try node.write("10-flannel.conflist", Self.flannel, mode: 0o640)
        try node.write("99-other.conflist", Self.flannel)
        try node.write("05-notes.txt", "x")
        #expect(try node.installation.install() == .installed(node.path + "/net.d/10-flannel.conflist"))
        #expect(try node.installation.install() == .unchanged)
        #expect(
            node.read("10-flannel.conflist") == (try added(Self.flannel))
                && node.mode("net.d/10-flannel.conflist") == 0o640)
        #expect(node.read("99-other.conflist") == Self.flannel)
        // The network plugin writes its own anew.
        try node.write("10-flannel.conflist", Self.flannel)
        #expect(try node.installation.install() == .installed(node.path + "/net.d/10-flannel.conflist"))
        // And another one takes its place.
        let other = "{\"name\":\"c\",\"plugins\":[{\"type\":\"c\"}]}"
        try node.write("00-c.conflist", other)
        #expect(try node.installation.install() == .installed(node.path + "/net.d/00-c.conflist"))
        _ = try node.installation.uninstall()
        #expect(try node.installation.uninstall() == [])
        #expect(node.names == ["00-c.conflist", "05-notes.txt", "10-flannel.conflist", "99-other.conflist"])
        #expect(node.read("00-c.conflist") == other && node.read("10-flannel.conflist") == Self.flannel)
        #expect(node.mode("net.d/00-c.conflist") == 0o600 && node.mode("bin/culvert-cni") == 0)
    }

    @Test("the executable is put back whenever it is another, also after it was found to be the same")
    func executable() throws {
        let node = try Node()
        try node.write("10-flannel.conflist", Self.flannel)
        let installation = node.installation
        let installed = CNIInstallation.Outcome.installed(node.path + "/net.d/10-flannel.conflist")
        #expect(try installation.install() == installed)
        for _ in 0..<3 { #expect(try installation.install() == .unchanged) }
        // A newer program, and then somebody's other file in its place: both as long as what was there.
        let program = Array("#!/bin/ls\n".utf8)
        for (path, text) in [("/program", "#!/bin/ls\n"), ("/bin/culvert-cni", "#!/bin/no\n")] {
            try SmallFile.write(Array(text.utf8), to: node.path + path, mode: 0o755)
            #expect(try installation.install() == installed)
            #expect(try SmallFile.read(node.path + "/bin/culvert-cni", bytesMax: 64) == program)
            for _ in 0..<3 { #expect(try installation.install() == .unchanged) }
        }
    }

    @Test("a plugin's own configuration is wrapped into a list, and is back at the end")
    func wrap() throws {
        let node = try Node()
        let text = "{\"cniVersion\": \"0.4.0\", \"name\": \"mynet\", \"type\": \"bridge\", \"ipam\": {}}\n"
        try node.write("10-bridge.conf", text, mode: 0o644)
        #expect(try node.installation.install() == .installed(node.path + "/net.d/10-bridge.conf"))
        #expect(node.names == ["10-bridge.conf.culvert-wrapped", "10-bridge.conflist"])
        let list = try JSONText(Array(try #require(node.read("10-bridge.conflist")).utf8))
        #expect(list.root["name"]?.string == "mynet" && list.root["cniVersion"]?.string == "0.4.0")
        #expect(list.root["plugins"]?.elements?.map { $0["type"]?.string } == ["bridge", "culvert-cni"])
        #expect(node.mode("net.d/10-bridge.conflist") == 0o644)
        #expect(try node.installation.install() == .unchanged)
        // Written anew, it is the first again.
        let newer = text.replacing("mynet", with: "newer")
        try node.write("10-bridge.conf", newer, mode: 0o644)
        _ = try node.installation.install()
        #expect(node.names == ["10-bridge.conf.culvert-wrapped", "10-bridge.conflist"])
        _ = try node.installation.uninstall()
        #expect(node.names == ["10-bridge.conf"] && node.read("10-bridge.conf") == newer)
        #expect(node.mode("net.d/10-bridge.conf") == 0o644)
    }

    @Test("a damaged configuration is left as it is, with its name in the reason")
    func damaged() throws {
        let node = try Node()
        try node.write("10-x.conflist", "{\"plugins\": [")
        #expect {
            _ = try node.installation.install()
        } throws: { "\($0)".contains("10-x.conflist: it is no JSON") }
        #expect(try node.installation.uninstall() == [node.path + "/bin/culvert-cni"])
        #expect(node.read("10-x.conflist") == "{\"plugins\": [")
    }
}
