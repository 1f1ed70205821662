/// Which UIDs of pods are taken, on a node: they name files, so that one is neither "..", nor hidden, nor like an option, nor too long for a
/// name with something before or after it. Those of Kubernetes all are. A mesh file's have to be the same.
public enum PodUID {
    public static let bytesMax = 128

    /// 1 to 128 letters, digits, `.`, `_` and `-` of ASCII, a letter or digit first.
    public static func isUsable(_ text: String) -> Bool {
        text.utf8.count <= bytesMax && CNIRequest.isName(text)
    }
}
