/// Bytes that a socket would not take yet, in order. Empty queues hold no memory.
struct ByteQueue: ~Copyable {
    private var storage: UnsafeMutableRawBufferPointer?
    private var head = 0
    private var tail = 0

    init() {}

    deinit { storage?.deallocate() }

    var count: Int { tail - head }
    /// Memory, in bytes.
    var capacity: Int { storage?.count ?? 0 }
    var isEmpty: Bool { head == tail }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        let room = (storage?.count ?? 0) - tail
        if room < bytes.count { grow(by: bytes.count) }
        if let storage {
            UnsafeMutableRawBufferPointer(rebasing: storage[tail...]).copyMemory(from: bytes)
            tail += bytes.count
        }
    }

    /// What is queued, valid inside `body` only.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        guard let storage else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        return body(UnsafeRawBufferPointer(rebasing: storage[head..<tail]))
    }

    mutating func removeFirst(_ count: Int) {
        precondition(count <= self.count, "more bytes removed than queued")
        head += count
        if isEmpty { removeAll() }
    }

    mutating func removeAll() {
        storage?.deallocate()
        storage = nil
        head = 0
        tail = 0
    }

    private mutating func grow(by extra: Int) {
        let capacity = max(4096, (count + extra) * 2)
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
        withBytes { larger.copyMemory(from: $0) }
        let kept = count
        storage?.deallocate()
        storage = larger
        head = 0
        tail = kept
    }
}
