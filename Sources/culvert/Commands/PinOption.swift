import ArgumentParser
import Redirection

/// `--bpf-dir`, of agent and proxy: both have to mean the same.
enum PinOption {
    static let help = ArgumentHelp(
        """
        Where eBPF programs and maps are pinned, on a BPF file system; the same for agent and proxy. (default: \
        \(PodGuard.standardDirectory), or bpf/culvert in a --run-dir other than the usual one)
        """, valueName: "dir")

    /// Two agents on one machine have two directories for their sockets, and so two for this.
    static func directory(_ option: String?, runDirectory: String) -> String {
        let usual =
            runDirectory == AgentRun.standardRunDirectory ? PodGuard.standardDirectory : "\(runDirectory)/bpf/culvert"
        return option ?? usual
    }
}
