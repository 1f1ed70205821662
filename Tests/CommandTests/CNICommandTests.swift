import FoundationEssentials
import Glibc
import Testing

@Suite("culvert cni", .enabled(if: Transcript.binary != nil, "needs the executable"))
struct CNICommandTests {
    @Test("installs, says so once, and takes out what it has put in; without a request it explains itself")
    func commands() throws {
        let directory = "/tmp/cvt-cni-command-\(getpid())"
        let options = "--conf-dir \(directory)/net.d --bin-dir \(directory)/bin --program \(directory)/program"
        let text = "{\"name\": \"x\", \"plugins\": [{\"type\": \"ptp\"}]}\n"
        _ = try Transcript.run("mkdir -p \(directory)/net.d \(directory)/bin; echo program > \(directory)/program")
        defer { _ = try? Transcript.run("rm -r \(directory)") }
        let none = try Transcript.run("culvert cni install \(options)")
        #expect(none == "\(directory)/net.d has no network configuration yet\nexit 0\n")
        try text.write(toFile: directory + "/net.d/10-x.conflist", atomically: false, encoding: .utf8)
        let installed = try Transcript.run("culvert cni install \(options) --exempt-namespace culvert-system")
        #expect(installed == "installed in \(directory)/net.d/10-x.conflist\nexit 0\n")
        let file = try Transcript.run("cat \(directory)/net.d/10-x.conflist")
        #expect(
            file.contains(
                "\"exemptNamespaces\": [\"kube-system\", \"kube-public\", \"kube-node-lease\", \"culvert-system\"]"))
        let again = try Transcript.run("culvert cni install \(options) --exempt-namespace culvert-system")
        #expect(again == "nothing to do: it is installed\nexit 0\n")
        let removed = try Transcript.run("culvert cni uninstall \(options)")
        #expect(removed.hasSuffix("exit 0\n") && removed.contains("removed from \(directory)/net.d/10-x.conflist"))
        #expect(try Transcript.run("cat \(directory)/net.d/10-x.conflist") == text + "exit 0\n")
        #expect(
            try Transcript.run("culvert cni uninstall \(options)") == "nothing to do: it is not installed\nexit 0\n")
        #expect(try Transcript.run("culvert cni install \(options) --program /nonexistent").hasSuffix("exit 1\n"))
        #expect(try Transcript.run("culvert cni").contains("culvert cni install"))
        let version = try Transcript.run("echo '{\"cniVersion\": \"1.0.0\"}' | CNI_COMMAND=VERSION culvert cni")
        #expect(version.hasPrefix("{\"cniVersion\": \"1.0.0\", \"supportedVersions\"") && version.hasSuffix("exit 0\n"))
    }
}
