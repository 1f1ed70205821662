import CLinux
public import Glibc
public import IPAddressing

/// What becomes of one attempt to read or write.
public enum TransferResult: Equatable, Sendable {
    /// More than none.
    case bytes(Int)
    /// Wait for the next event.
    case wouldBlock
    /// Reading only: the peer has finished.
    case end
    /// With this errno, positive.
    case failed(Int32)
}

extension TCPSocket {
    /// Where the client wanted to go before the redirection's NAT (SO_ORIGINAL_DST), for IPv4 and IPv6; without NAT the
    /// address of this end, and `nil` when conntrack knows nothing of the connection.
    public static func originalDestination(_ descriptor: Int32) -> SocketAddress? {
        var endpoint = clinux_endpoint()
        return clinux_original_destination(descriptor, &endpoint) == 0 ? endpoint.socketAddress : nil
    }

    public static func localAddress(_ descriptor: Int32) -> SocketAddress? {
        var endpoint = clinux_endpoint()
        return clinux_local_endpoint(descriptor, &endpoint) == 0 ? endpoint.socketAddress : nil
    }

    public static func peerAddress(_ descriptor: Int32) -> SocketAddress? {
        var endpoint = clinux_endpoint()
        return clinux_peer_endpoint(descriptor, &endpoint) == 0 ? endpoint.socketAddress : nil
    }

    /// Takes the error that ended a connection attempt, or the connection: asking again finds none.
    public static func pendingError(_ descriptor: Int32) -> Errno? {
        let code = clinux_option(descriptor, SOL_SOCKET, SO_ERROR)
        return code == 0 ? nil : Errno(code: abs(code), call: "connection")
    }

    /// Fails only on something that is no TCP socket.
    public static func setNoDelay(_ descriptor: Int32) throws(Errno) {
        try checked(clinux_set_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1), "set TCP_NODELAY")
    }

    /// In whole seconds: the first probe after `idle`, then one each `interval`, dead after `count` unanswered.
    public static func setKeepAlive(
        _ descriptor: Int32, idle: Duration, interval: Duration, count: Int
    ) throws(Errno) {
        let (idle, interval) = (Int32(idle.components.seconds), Int32(interval.components.seconds))
        try checked(clinux_keep_alive(descriptor, idle, interval, Int32(count)), "set SO_KEEPALIVE")
    }

    /// SO_ACCEPTCONN: a stream socket that accepts connections.
    public static func isListening(_ descriptor: Int32) -> Bool {
        clinux_option(descriptor, SOL_SOCKET, SO_ACCEPTCONN) == 1
    }

    /// SO_MARK of the socket.
    public static func mark(_ descriptor: Int32) -> UInt32? {
        let value = clinux_option(descriptor, SOL_SOCKET, SO_MARK)
        return value < 0 ? nil : UInt32(value)
    }

    /// Sends FIN once everything is sent; reading goes on. That the peer is gone already is no error here.
    public static func shutdownWrite(_ descriptor: Int32) { _ = clinux_shutdown_write(descriptor) }

    /// Makes the coming close send RST: the peer learns that what it got is not all there was.
    public static func abort(_ descriptor: Int32) { _ = clinux_abort_on_close(descriptor) }

    public static func receive(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer) -> TransferResult {
        let count = clinux_receive(descriptor, buffer.baseAddress, buffer.count)
        return count == 0 ? .end : result(count)
    }

    /// One vectored read into pieces that hold at least a byte.
    public static func receive(_ descriptor: Int32, into pieces: UnsafeMutableBufferPointer<iovec>) -> TransferResult {
        let count = clinux_receive_pieces(descriptor, pieces.baseAddress, pieces.count)
        return count == 0 ? .end : result(count)
    }

    /// Never raises SIGPIPE.
    public static func send(_ descriptor: Int32, _ buffer: UnsafeRawBufferPointer) -> TransferResult {
        result(clinux_send(descriptor, buffer.baseAddress, buffer.count))
    }

    /// One vectored write, which may end in the middle of a piece. Never raises SIGPIPE.
    public static func send(_ descriptor: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>) -> TransferResult {
        result(clinux_send_pieces(descriptor, pieces.baseAddress, pieces.count))
    }

    private static func result(_ count: Int) -> TransferResult {
        if count >= 0 { return .bytes(count) }
        return -count == Int(EAGAIN) ? .wouldBlock : .failed(Int32(-count))
    }
}
