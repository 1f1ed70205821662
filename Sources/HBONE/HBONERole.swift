public enum HBONERole: Sendable {
    /// Opens the connection and sends CONNECT requests.
    case client
    case server
}
