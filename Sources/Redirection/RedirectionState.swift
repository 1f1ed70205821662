/// What there is of a redirection in a pod's namespace.
public enum RedirectionState: Hashable, Sendable {
    case absent
    case complete
    /// What is missing or differs, for the log. Installing or removing mends it.
    case partial([String])
}
