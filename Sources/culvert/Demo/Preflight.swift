import Glibc

/// What the demo needs of the machine, looked at before anything is made.
enum Preflight {
    static func check() throws(DemoError) {
        guard geteuid() == 0 else {
            throw DemoError(
                "the demo makes network namespaces, which only root may", hint: "run it again with sudo")
        }
        guard finds("nft") else {
            throw DemoError(
                "the program nft is missing, which installs the redirection in the pods",
                hint: "apt-get install nftables")
        }
    }

    /// In the directories of PATH, and in those where root's programs are.
    private static func finds(_ program: String) -> Bool {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        return directories.contains { access("\($0)/\(program)", X_OK) == 0 }
    }
}
