import CLibBPF
import Glibc

/// What of this machine decides how connections can be captured and guarded.
public struct KernelFeatures: Sendable {
    /// As `uname -r` says.
    public let release: String
    /// Where the unified hierarchy is mounted; nil without it.
    public let cgroupRoot: String?
    public let hasLibBPF: Bool
    public let hasNFT: Bool
    /// The file system that outlives the agent's programs.
    public let isPinDirectoryMounted: Bool

    public init(pinDirectory: String) {
        var name = utsname()
        uname(&name)
        release = withUnsafeBytes(of: name.release) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        cgroupRoot = try? Cgroup.root()
        hasLibBPF = cbpf_open_library() == 0
        hasNFT = (try? NFTCommand(path: nil, timeout: .seconds(1))) != nil
        isPinDirectoryMounted = cbpf_is_on_file_system(pinDirectory) == 1
    }
}
