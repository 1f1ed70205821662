import Glibc

/// This thread's spare chunks of memory: nothing on the hot path allocates, and idle connections hold none.
///
/// A chunk may be put back on another thread than the one that took it.
final class ChunkPool {
    /// Of a chunk, in bytes: sixteen full TLS records and the links of a `CiphertextQueue`.
    static let chunkSize = 16 * (RecordCipher.contentMax + RecordCipher.overhead) + 64
    /// Of a small one, in bytes: a record is never longer (RFC 8446 section 5.2).
    static let recordSize = RecordCipher.headerCount + RecordCipher.contentMax + 256
    /// Spare chunks kept by a thread, and as many small ones; more are freed.
    private static let spareMax = 32

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let made = pthread_key_create(&key) { Unmanaged<ChunkPool>.fromOpaque($0!).release() }
        precondition(made == 0, "no thread-specific key left")
        return key
    }()

    /// Those of one size.
    private struct Spares: ~Copyable {
        private let size: Int
        private var chunks = ContiguousArray<UnsafeMutableRawPointer>()

        init(size: Int) {
            self.size = size
            chunks.reserveCapacity(spareMax)
        }

        deinit { for chunk in chunks { chunk.deallocate() } }

        /// The one put back last: most of it is in the cache still.
        mutating func take() -> UnsafeMutableRawPointer {
            chunks.popLast() ?? .allocate(byteCount: size, alignment: 64)
        }

        mutating func put(_ chunk: UnsafeMutableRawPointer) {
            if chunks.count < spareMax { chunks.append(chunk) } else { chunk.deallocate() }
        }
    }

    private var spares = Spares(size: chunkSize)
    private var spareRecords = Spares(size: recordSize)

    private static var ofThread: Unmanaged<ChunkPool> {
        if let pool = pthread_getspecific(key) { return .fromOpaque(pool) }
        let pool = Unmanaged.passRetained(ChunkPool())
        pthread_setspecific(key, pool.toOpaque())
        return pool
    }

    static func take() -> UnsafeMutableRawPointer { ofThread._withUnsafeGuaranteedRef { $0.spares.take() } }

    static func put(_ chunk: UnsafeMutableRawPointer) { ofThread._withUnsafeGuaranteedRef { $0.spares.put(chunk) } }

    /// The same for a chunk of `recordSize`.
    static func takeRecord() -> UnsafeMutableRawPointer {
        ofThread._withUnsafeGuaranteedRef { $0.spareRecords.take() }
    }

    static func putRecord(_ chunk: UnsafeMutableRawPointer) {
        ofThread._withUnsafeGuaranteedRef { $0.spareRecords.put(chunk) }
    }
}
