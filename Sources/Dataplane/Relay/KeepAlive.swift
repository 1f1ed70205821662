import LinuxNetworking

/// What every TCP connection of the proxy is set to, by its listener or when it is dialled: no Nagle delay, and probes that find a dead peer (ztunnel's times).
enum KeepAlive {
    private static let idle: Duration = .seconds(180)
    private static let interval: Duration = .seconds(180)
    private static let count = 9

    /// Both fail only on a descriptor that is no TCP socket any more: then the next read or write says why.
    static func configure(_ descriptor: Int32) {
        try? TCPSocket.setNoDelay(descriptor)
        try? TCPSocket.setKeepAlive(descriptor, idle: idle, interval: interval, count: count)
    }
}
