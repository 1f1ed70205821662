import IPAddressing
import MeshState
import Yams

extension MeshFileReader {
    static let exclusionKeys = ["excludeInboundPorts", "excludeOutboundPorts", "excludeOutboundCIDRs"]

    mutating func exclusions(_ fields: Fields) -> MeshFile.Exclusions {
        MeshFile.Exclusions(
            inboundPorts: excludedPorts(fields["excludeInboundPorts"], "excluded inbound port"),
            outboundPorts: excludedPorts(fields["excludeOutboundPorts"], "excluded outbound port"),
            outboundPrefixes: excludedPrefixes(fields["excludeOutboundCIDRs"]))
    }

    private mutating func excludedPorts(_ node: Node?, _ what: String) -> [UInt16] {
        bounded(node, what + "s", max: MeshFile.Exclusions.portsMax).compactMap { element in
            guard let port = port(element, "an " + what) else { return nil }
            guard !ReservedPort.isListenerInPod(port) else {
                report(
                    element.position, "expected an \(what) of the application, got \(port), which is the proxy's own")
                return nil
            }
            return port
        }
    }

    private mutating func excludedPrefixes(_ node: Node?) -> [IPPrefix] {
        let what = "an excluded CIDR"
        return bounded(node, "excluded CIDRs", max: MeshFile.Exclusions.prefixesMax).compactMap { element in
            guard let text = string(element, what) else { return nil }
            let got = YAMLValue.string(text).description
            guard let prefix = IPPrefix(text), prefix.description == text || prefix.address.description == text else {
                report(
                    element.position,
                    "expected \(what) such as 10.1.0.0/16, with no bits set beyond its length, got \(got)")
                return nil
            }
            guard prefix.length > 0 else {
                report(element.position, "expected \(what) that is not everything, got \(got); a label takes a pod out")
                return nil
            }
            return prefix
        }
    }

    private mutating func bounded(_ node: Node?, _ what: String, max: Int) -> ArraySlice<Node> {
        let elements = list(node, what)
        if elements.count > max { report(node?.position, "expected at most \(max) \(what), got \(elements.count)") }
        return elements.prefix(max)
    }
}
