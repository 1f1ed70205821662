public import LinuxNetworking

/// Why a pod's redirection could not be installed, removed or looked at. Installing or removing again is always right.
public enum RedirectionError: Error, Equatable, Sendable {
    case nftMissing(searched: [String])
    /// nft's own text, on one line.
    case nftFailed(status: Int32, message: String)
    case nftTimedOut(after: Duration)
    case kernel(Errno)
    /// The record of the settings from before cannot be used.
    case record(path: String, reason: String)
    case invalidPod(String)
    /// libbpf is not on this machine, or too old.
    case libraryMissing
    /// The kernel does not take an eBPF program; with its words, on one line.
    case programRefused(name: String, reason: Errno, log: String)
    /// The unified hierarchy of cgroups is missing, or the proxy's is not what it should be.
    case noCgroups(String)
    /// There is no BPF file system, and one that this process would mount would be its container's alone.
    case noFileSystem(String)
    /// Programs that load, but do not do what they should.
    case selfTestFailed(String)
    case tooManyExclusions(PodExclusions)
    /// The guard has nowhere to stand: with the interfaces found.
    case noHostEnd([String])
}

extension RedirectionError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .nftMissing(let searched):
            "nft is not installed (looked for \(searched.joined(separator: ", "))): install the nftables package"
        case .nftFailed(let status, let message):
            "nft refused the rules (exit \(status)): \(message)"
                + (status == 1 && message.contains("not permitted")
                    ? "; CAP_NET_ADMIN in the pod's network namespace is needed" : "")
        case .nftTimedOut(let limit):
            "nft did not finish within \(limit): the node is overloaded, or another program holds the ruleset"
        case .kernel(let error):
            "\(error)"
        case .record(let path, let reason):
            "\(path): \(reason)"
        case .libraryMissing:
            "libbpf.so.1 is not installed: install the libbpf1 package"
        case .programRefused(_, let reason, let log):
            "\(reason)" + (reason.code == 1 ? "; CAP_BPF and CAP_NET_ADMIN are needed" : "")
                + (log.isEmpty ? "" : ": \(log)")
        case .noCgroups(let reason):
            reason
        case .noFileSystem(let directory):
            "\(directory) is on no BPF file system, and one mounted in this container would end with it: on the node, as root, run "
                + "`mount -t bpf bpf /sys/fs/bpf`, then start this container again"
        case .selfTestFailed(let reason):
            "self-test: \(reason)"
        case .tooManyExclusions(let exclusions):
            "at most \(PodExclusions.portsMax) ports can be excluded in each direction, and \(PodExclusions.prefixesMax) "
                + "prefixes: there are \(exclusions.inboundPorts.count), \(exclusions.outboundPorts.count) and "
                + "\(exclusions.outboundPrefixes.count)"
        case .noHostEnd(let interfaces):
            "the guard finds no veth of the pod with its other end in the agent's own network namespace (the pod has "
                + (interfaces.isEmpty ? "no interface" : interfaces.joined(separator: ", ")) + ")"
        case .invalidPod(let uid):
            "pod UID '\(uid)' is not 1 to 128 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        }
    }
}
