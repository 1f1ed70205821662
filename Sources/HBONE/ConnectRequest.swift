/// A plain CONNECT (RFC 9113 8.5) with the fields that HBONE peers send along.
public struct ConnectRequest: Sendable, Equatable {
    /// `:authority` as text: printable ASCII without spaces, 1 to 512 bytes. Parsing it is the reader's.
    public var authority: String
    /// Who the source is: `k8s.namespace.name=…,service.name=…`.
    public var baggage: String?
    /// `for="<source address>";host=<service>`
    public var forwarded: String?
    /// W3C trace context.
    public var traceparent: String?
    /// `x-forwarded-network`
    public var forwardedNetwork: String?

    public init(
        authority: String, baggage: String? = nil, forwarded: String? = nil, traceparent: String? = nil,
        forwardedNetwork: String? = nil
    ) {
        self.authority = authority
        self.baggage = baggage
        self.forwarded = forwarded
        self.traceparent = traceparent
        self.forwardedNetwork = forwardedNetwork
    }

    static let authorityBytesMax = 512
    /// A longer value is left out.
    static let valueBytesMax = 8192

    static func isAuthority(_ bytes: some Collection<UInt8>) -> Bool {
        1...authorityBytesMax ~= bytes.count && bytes.allSatisfy { 0x21...0x7e ~= $0 }
    }

    /// Printable ASCII: nothing that could break a log line or a header block.
    static func isValue(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.count <= valueBytesMax && bytes.allSatisfy { 0x20...0x7e ~= $0 || $0 == 0x09 }
    }
}
