/// How long to wait before connecting again: 10 ms, doubling to 15 s; then between half of that and all of it, so that those who lost
/// the same peer at once do not come back at once.
///
/// A connection that lasted longer than the longest wait starts over; one that the peer accepts and closes at once does
/// not, so there is never a spin.
struct ReconnectBackoff {
    static let shortest = Duration.milliseconds(10)
    static let longest = Duration.seconds(15)

    private var next = ReconnectBackoff.shortest

    /// `lifetime` is that of the connection that has just ended; zero when none came about. `random` is uniform over its type.
    mutating func delay(afterConnectionOf lifetime: Duration, random: UInt32) -> Duration {
        if lifetime > Self.longest { next = Self.shortest }
        defer { next = min(next * 2, Self.longest) }
        return next / 2 + next * Int(random >> 16) / (2 << 16)
    }
}
