import CLinux
import IPAddressing

extension clinux_endpoint {
    /// A v4 address is written as such, unless the socket is an IPv6 one: then in its mapped form.
    init(_ address: SocketAddress, onV6Socket: Bool) {
        self.init()
        v6 = onV6Socket
        port = address.port
        let bytes = onV6Socket ? address.ip.mappedBytes : address.ip.bytes
        withUnsafeMutableBytes(of: &self.address) { $0.copyBytes(from: bytes) }
    }

    /// A mapped address becomes IPv4, as `IPAddress` makes it.
    var socketAddress: SocketAddress {
        let ip = withUnsafeBytes(of: address) { bytes in
            v6
                ? IPAddress(
                    v6High: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
                    low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
                : IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        }
        return SocketAddress(ip, port: port)
    }
}
