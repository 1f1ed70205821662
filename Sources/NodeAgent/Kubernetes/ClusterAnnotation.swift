import IPAddressing
public import KubernetesAPI
import MeshFile
import MeshState
public import Redirection

/// What namespaces and pods say to the agent, besides the label that enrols them.
public enum ClusterAnnotation {
    /// What enrolled pods of a namespace do with plaintext.
    public enum Mode: String, Sendable {
        case permissive
        case strict
    }

    /// A label of a namespace: with `strict`, its enrolled pods take no plaintext.
    static let mode = "culvert.dev/mtls-mode"
    /// On a namespace or a pod: ports of the pod, separated by commas.
    static let inboundPorts = "culvert.dev/exclude-inbound-ports"
    /// Ports of whom the pod connects to.
    static let outboundPorts = "culvert.dev/exclude-outbound-ports"
    /// Addresses of whom the pod connects to.
    static let outboundCIDRs = "culvert.dev/exclude-outbound-cidrs"

    /// Whoever wrote something else did not mean that everything may come in.
    public static func mode(of namespace: Namespace, _ problem: (String) -> Void = { _ in }) -> Mode {
        guard let text = namespace.metadata.labels[mode] else { return .permissive }
        guard let mode = Mode(rawValue: text) else {
            problem("\(Self.mode)=\(text) is taken for strict")
            return .strict
        }
        return mode
    }

    /// What goes around the proxy. What is not understood excludes nothing, and is reported.
    public static func exclusions(_ annotations: [String: String], _ problem: (String) -> Void) -> PodExclusions {
        PodExclusions(
            inboundPorts: ports(annotations, inboundPorts, problem),
            outboundPorts: ports(annotations, outboundPorts, problem),
            outboundPrefixes: prefixes(annotations, problem))
    }

    private static func ports(
        _ annotations: [String: String], _ key: String, _ problem: (String) -> Void
    ) -> Set<UInt16> {
        let words = words(annotations, key)
        let ports = Set(words.compactMap { UInt16($0) }.filter { $0 > 0 && !ReservedPort.isListenerInPod($0) })
        guard ports.count == Set(words).count, ports.count <= MeshFile.Exclusions.portsMax else {
            problem(
                "\(key): expected at most \(MeshFile.Exclusions.portsMax) ports, separated by commas, none of them the proxy's"
            )
            return []
        }
        return ports
    }

    private static func prefixes(_ annotations: [String: String], _ problem: (String) -> Void) -> Set<IPPrefix> {
        let words = words(annotations, outboundCIDRs)
        let prefixes = Set(words.compactMap { IPPrefix(String($0)) }.filter { $0.length > 0 })
        guard prefixes.count == Set(words).count, prefixes.count <= MeshFile.Exclusions.prefixesMax else {
            problem(
                "\(outboundCIDRs): expected at most \(MeshFile.Exclusions.prefixesMax) CIDRs such as 10.1.0.0/16, separated by commas"
            )
            return []
        }
        return prefixes
    }

    private static func words(_ annotations: [String: String], _ key: String) -> [Substring] {
        (annotations[key] ?? "").split(separator: ",").map { word in
            word.drop { $0 == " " }.prefix { $0 != " " }
        }
    }
}
