import CLinux

/// A file descriptor with one owner, closed when the owner lets go of it.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// For a kernel call, while the owner lives; never to be closed through.
    public let raw: Int32

    /// `descriptor` is open, and nobody else closes it.
    public init(adopting descriptor: Int32) {
        precondition(descriptor >= 0, "a descriptor is not negative")
        raw = descriptor
    }

    /// Whoever takes the number closes it.
    public consuming func release() -> Int32 {
        let descriptor = raw
        discard self
        return descriptor
    }

    /// Another descriptor of the same open file, close-on-exec.
    public func duplicate() throws(Errno) -> OwnedDescriptor { try OwnedDescriptor(duplicating: raw) }

    /// The same, for a descriptor that somebody else owns.
    public init(duplicating descriptor: Int32) throws(Errno) {
        self.init(adopting: try checked(clinux_duplicate(descriptor), "duplicate descriptor \(descriptor)"))
    }

    deinit { clinux_close(raw) }
}
