/// One direction of an established connection: its traffic secret, and the cipher under the key made from it.
struct RecordProtection: ~Copyable {
    /// Far below what AES-GCM allows under one key (2^24.5 full records, RFC 8446 5.5).
    static let recordsPerKeyMax: UInt64 = 1 << 23

    let suite: TLSCipherSuite
    private let seals: Bool
    private let vector: VectorAES?
    private var secret: TrafficSecret
    var cipher: RecordCipher

    init(_ suite: TLSCipherSuite, secret: consuming TrafficSecret, seals: Bool, vectorAES: Bool) {
        self.suite = suite
        self.seals = seals
        vector = vectorAES ? VectorAES.of(suite) : nil
        cipher = RecordCipher(suite, secret: secret, seals: seals, vector: vector)
        self.secret = secret
    }

    /// After a KeyUpdate (RFC 8446 7.2): the next generation of secret and key, from sequence number 0.
    mutating func update() {
        let next = TrafficSecret(after: secret, suite)
        cipher = RecordCipher(suite, secret: next, seals: seals, vector: vector)
        secret = next
    }
}
