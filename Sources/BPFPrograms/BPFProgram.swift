/// One of the compiled programs in `bpf/`: an ELF object as the compiler wrote it.
public struct BPFProgram: Sendable {
    public let name: String
    /// In bytes; the last word may be filled up.
    public let size: Int
    private let words: [UInt64]

    init(name: String, size: Int, words: [UInt64]) {
        self.name = name
        self.size = size
        self.words = words
    }

    /// The object, aligned as a loader wants it.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        words.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[..<size])) }
    }
}
