/// The ports that Culvert listens on, in a pod's network namespace or on its node.
public enum ReservedPort {
    /// Captured outbound connections, in each enrolled pod.
    public static let outbound: UInt16 = 15001
    /// Captured inbound connections that are not HBONE, in each enrolled pod.
    public static let inboundPlaintext: UInt16 = 15006
    /// HBONE, reached directly by peers, in each enrolled pod.
    public static let hbone: UInt16 = 15008
    public static let admin: UInt16 = 15000
    public static let metrics: UInt16 = 15020
    public static let readiness: UInt16 = 15021

    /// The proxy's own listeners inside a pod: a connection to one of them would call the proxy through itself.
    public static func isListenerInPod(_ port: UInt16) -> Bool {
        port == outbound || port == inboundPlaintext || port == hbone
    }
}
