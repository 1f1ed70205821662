import COpenSSL

/// One direction of TLS 1.3 record protection under one traffic key (RFC 8446 5.2, 5.3), in place.
///
/// It knows the form of a record only: five bytes of header, the content, one byte of type, sixteen of tag.
struct RecordCipher: ~Copyable {
    static let headerCount = 5
    static let tagCount = 16
    /// What a record adds to its content.
    static let overhead = headerCount + 1 + tagCount
    /// Of a record's content, in bytes (RFC 8446 5.1).
    static let contentMax = 16384

    private static let nonceCount = 12

    /// libcrypto's, where the vector library is not used.
    private let context: OpaquePointer?
    private let vector: VectorAES?
    /// The static IV and the nonce made from it; for the vector library its key, its context and a tag besides.
    private let memory: UnsafeMutableRawBufferPointer
    /// Records so far under this key: the sequence number of the next.
    private(set) var sequence: UInt64 = 0

    private static let keyOffset = 64
    private static let contextOffset = keyOffset + VectorAES.keyCount
    private static let tagOffset = contextOffset + VectorAES.contextCount

    /// `vector`: the vector library for this suite, if it is to be used.
    init(_ suite: TLSCipherSuite, secret: borrowing TrafficSecret, seals: Bool, vector: VectorAES?) {
        self.init(vector)
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 16) { buffer in
            let key = UnsafeMutableRawBufferPointer(rebasing: buffer[..<suite.keyCount])
            let iv = UnsafeMutableRawBufferPointer(rebasing: buffer[32..<32 + Self.nonceCount])
            secret.expand("key", to: key, suite)
            secret.expand("iv", to: iv, suite)
            install(suite, key: UnsafeRawBufferPointer(key), iv: UnsafeRawBufferPointer(iv), seals)
            OPENSSL_cleanse(buffer.baseAddress, buffer.count)
        }
    }

    init(_ suite: TLSCipherSuite, key: [UInt8], iv: [UInt8], seals: Bool, vector: VectorAES?) {
        self.init(vector)
        key.withUnsafeBytes { key in iv.withUnsafeBytes { install(suite, key: key, iv: $0, seals) } }
    }

    private init(_ vector: VectorAES?) {
        self.vector = vector
        let count = vector == nil ? Self.keyOffset : Self.tagOffset + Self.tagCount
        memory = .allocate(byteCount: count, alignment: 64)
        context = vector == nil ? EVP_CIPHER_CTX_new() : nil
    }

    private func install(
        _ suite: TLSCipherSuite, key: UnsafeRawBufferPointer, iv: UnsafeRawBufferPointer, _ seals: Bool
    ) {
        memory.copyMemory(from: iv)
        if let vector { return vector.expand(key.baseAddress, memory.baseAddress! + Self.keyOffset) }
        let isKeyed = suite.name.withUTF8Buffer { name in
            culvert_aead_key(
                context, UnsafeRawPointer(name.baseAddress!).assumingMemoryBound(to: CChar.self),
                key.assumingMemoryBound(to: UInt8.self).baseAddress, seals ? 1 : 0)
        }
        precondition(isKeyed == 1, "libcrypto has no AEAD of TLS 1.3, or no memory")
    }

    deinit {
        EVP_CIPHER_CTX_free(context)
        OPENSSL_cleanse(memory.baseAddress, memory.count)
        memory.deallocate()
    }

    /// The IV with the sequence number in its last eight bytes.
    private mutating func nextNonce() -> UnsafeMutablePointer<UInt8> {
        let iv = memory.baseAddress!
        let nonce = iv + 16
        nonce.copyMemory(from: iv, byteCount: 4)
        let tail = (iv + 4).loadUnaligned(as: UInt64.self) ^ sequence.bigEndian
        (nonce + 4).storeBytes(of: tail, as: UInt64.self)
        sequence &+= 1
        return nonce.assumingMemoryBound(to: UInt8.self)
    }

    /// The content of `count` bytes stands behind room for the header, and has room for the type and the tag behind it.
    /// Returns the length of the record.
    @discardableResult
    mutating func seal(_ record: UnsafeMutableRawPointer, count: Int, type: UInt8) -> Int {
        let length = count &+ 1 &+ Self.tagCount
        let header = record.assumingMemoryBound(to: UInt8.self)
        (header[0], header[1], header[2]) = (ContentType.applicationData, 3, 3)
        header[3] = UInt8(truncatingIfNeeded: length >> 8)
        header[4] = UInt8(truncatingIfNeeded: length)
        let content = header + Self.headerCount
        content[count] = type
        let nonce = nextNonce()
        if let vector {
            let base = memory.baseAddress!
            vector.seal(
                base + Self.keyOffset, base + Self.contextOffset, content, content, UInt64(count &+ 1), nonce, header,
                UInt64(Self.headerCount), content + count + 1, UInt64(Self.tagCount))
        } else {
            let isSealed = culvert_aead_seal(
                context, nonce, header, Int32(Self.headerCount), content, Int32(count &+ 1))
            precondition(isSealed == 1, "libcrypto failed to encrypt")
        }
        return Self.headerCount &+ length
    }

    /// `count` bytes follow the header of `record`. Returns how many of them are content and type (and padding), now in
    /// plaintext behind the header; `nil` when the record was forged or damaged.
    mutating func open(_ record: UnsafeMutableRawPointer, count: Int) -> Int? {
        let inner = count &- Self.tagCount
        guard inner > 0 else { return nil }
        let header = record.assumingMemoryBound(to: UInt8.self)
        let content = header + Self.headerCount
        let nonce = nextNonce()
        if let vector {
            let base = memory.baseAddress!
            vector.open(
                base + Self.keyOffset, base + Self.contextOffset, content, content, UInt64(inner), nonce, header,
                UInt64(Self.headerCount), base + Self.tagOffset, UInt64(Self.tagCount))
            return CRYPTO_memcmp(base + Self.tagOffset, content + inner, Self.tagCount) == 0 ? inner : nil
        }
        return culvert_aead_open(context, nonce, header, Int32(Self.headerCount), content, Int32(inner)) == 1
            ? inner : nil
    }
}

/// Content types of TLS records (RFC 8446 5.1).
enum ContentType {
    static let changeCipherSpec: UInt8 = 20
    static let alert: UInt8 = 21
    static let handshake: UInt8 = 22
    static let applicationData: UInt8 = 23
}
