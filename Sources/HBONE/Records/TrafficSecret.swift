import COpenSSL

/// An application traffic secret of TLS 1.3, wiped when it is dropped.
struct TrafficSecret: ~Copyable {
    private static let countMax = 48

    private let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: countMax, alignment: 16)
    private let count: Int

    init(_ secret: UnsafeRawBufferPointer) {
        precondition(secret.count <= TrafficSecret.countMax, "a secret longer than any hash of TLS 1.3")
        count = secret.count
        bytes.copyMemory(from: secret)
    }

    /// The next generation of `secret`: application_traffic_secret_N+1 (RFC 8446 7.2).
    init(after secret: borrowing TrafficSecret, _ suite: TLSCipherSuite) {
        count = suite.hashCount
        secret.expand("traffic upd", to: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), suite)
    }

    deinit {
        OPENSSL_cleanse(bytes.baseAddress, bytes.count)
        bytes.deallocate()
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 7.1); no output here is longer than the hash, so one block of
    /// HKDF is all there is (RFC 5869 2.3).
    func expand(_ label: StaticString, to output: UnsafeMutableRawBufferPointer, _ suite: TLSCipherSuite) {
        precondition(output.count <= suite.hashCount, "more than one block of HKDF")
        var info = [UInt8](repeating: 0, count: 1)
        info.append(UInt8(output.count))
        info.append(UInt8(6 + label.utf8CodeUnitCount))
        info += "tls13 ".utf8
        label.withUTF8Buffer { info += $0 }
        info += [0, 1]
        withUnsafeTemporaryAllocation(byteCount: Int(EVP_MAX_MD_SIZE), alignment: 16) { block in
            let made = HMAC(
                suite.hash, bytes.baseAddress, Int32(count), info, info.count,
                block.assumingMemoryBound(to: UInt8.self).baseAddress, nil)
            precondition(made != nil, "OpenSSL is out of memory")
            output.copyMemory(from: UnsafeRawBufferPointer(rebasing: block[..<output.count]))
            OPENSSL_cleanse(block.baseAddress, block.count)
        }
    }
}
