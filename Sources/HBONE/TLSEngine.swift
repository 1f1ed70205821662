import COpenSSL
import SPIFFE

/// One TLS 1.3 connection without a socket: ciphertext in, plaintext out, and the other way round.
///
/// libssl makes the handshake. After it records are protected here, in place, and libssl's part is dropped; or all of the
/// connection is libssl's (`TLSRecords.libssl`). Only this type knows which. Confined to the thread of its connection.
final class TLSEngine {
    enum Step {
        case needsInput
        case established(HBONEPeer)
        case failed(ConnectionEnd)
    }

    enum Read {
        /// Valid until the next read, or until the input is done.
        case plaintext(UnsafeMutableRawBufferPointer)
        case needsInput
        case closeNotify
        case failed(ConnectionEnd)
    }

    /// Set by callbacks inside libssl; OpenSSL's own error says less.
    enum Flaw {
        case alpn
        case refused(String)
    }

    static let exIndex: Int32 = culvert_SSL_new_ex_index()

    let context: TLSContext
    /// Until the handshake is done; for ever when the records are libssl's.
    private var ssl: OpaquePointer?
    private var input = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var opening = TLSOpening()
    var verified: (id: SPIFFEID, chainDER: [[UInt8]])?
    var flaw: Flaw?
    private(set) var isEstablished = false
    /// After a failure, or close_notify: nothing is sent or received any more.
    private var isDead = false
    /// What is to be written to the socket. Alerts go here too.
    var output = CiphertextQueue()

    // The secrets, from the keylog callback until the handshake is done.
    private var clientSecret: TrafficSecret?
    private var serverSecret: TrafficSecret?
    private var records: RecordLayer?
    /// Plaintext on its way through libssl: what would be the queue's room if records were ours.
    private var staging: UnsafeMutableRawPointer?
    private var staged = 0

    init(context: TLSContext) {
        self.context = context
        guard let ssl = SSL_new(context.pointer), let bio = BIO_new(TLSEngine.bioMethod) else {
            preconditionFailure("OpenSSL is out of memory")
        }
        self.ssl = ssl
        let me = Unmanaged.passUnretained(self).toOpaque()
        BIO_set_data(bio, me)
        BIO_set_init(bio, 1)
        SSL_set_bio(ssl, bio, bio)
        SSL_set_ex_data(ssl, TLSEngine.exIndex, me)
        if context.role == .server { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit {
        SSL_free(ssl)
        if let staging { ChunkPool.put(staging) }
    }

    // MARK: Ciphertext in

    /// The bytes, which are decrypted in place, must stay valid until `inputLeft`; in between, `handshake` and `read` take them.
    func provide(_ ciphertext: UnsafeMutableRawBufferPointer) {
        if !isEstablished { opening.note(UnsafeRawBufferPointer(ciphertext)) }
        input = ciphertext
        ERR_clear_error()
    }

    /// What was not taken: the beginning of a record.
    func inputLeft() -> UnsafeMutableRawBufferPointer {
        defer { input = UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        return input
    }

    func handshake() -> Step {
        guard !isDead, let ssl else { return .needsInput }
        let result = SSL_do_handshake(ssl)
        guard result == 1 else {
            let reason = SSL_get_error(ssl, result)
            return reason == SSL_ERROR_WANT_READ ? .needsInput : .failed(fail(reason))
        }
        guard agreedOnHTTP2(ssl) else {
            isDead = true
            return .failed(.alpn)
        }
        guard let verified else {
            isDead = true
            return .failed(.tls("the peer was not verified"))
        }
        let peer = HBONEPeer(
            id: verified.id, certificateChainDER: verified.chainDER,
            tlsVersion: String(cString: SSL_get_version(ssl)),
            cipher: String(cString: SSL_CIPHER_get_name(SSL_get_current_cipher(ssl))), group: group(ssl))
        if case .own(let vectorAES) = context.records {
            guard takeOver(ssl, vectorAES: vectorAES) else {
                isDead = true
                return .failed(.tls("OpenSSL did not tell the traffic secrets"))
            }
        }
        isEstablished = true
        return .established(peer)
    }

    /// The records are ours from here on: libssl has sent and received its last.
    private func takeOver(_ ssl: OpaquePointer, vectorAES: Bool) -> Bool {
        guard let suite = TLSCipherSuite(rawValue: culvert_SSL_suite(ssl)), let client = clientSecret.take(),
            let server = serverSecret.take()
        else { return false }
        records =
            context.role == .client
            ? RecordLayer(isClient: true, suite, sending: client, receiving: server, vectorAES: vectorAES)
            : RecordLayer(isClient: false, suite, sending: server, receiving: client, vectorAES: vectorAES)
        SSL_free(ssl)
        self.ssl = nil
        return true
    }

    /// From libssl's keylog callback.
    func learn(_ secret: UnsafeRawBufferPointer, ofClient: Bool) {
        if ofClient { clientSecret = TrafficSecret(secret) } else { serverSecret = TrafficSecret(secret) }
    }

    /// The content of the next record. `scratch` is where libssl decrypts to; it holds at least one record.
    func read(scratch: UnsafeMutableRawBufferPointer) -> Read {
        guard !isDead else { return .needsInput }
        guard records != nil else { return readLibssl(scratch) }
        switch records!.next(&input) {
        case .content(let content): return .plaintext(content)
        case .needsInput: return .needsInput
        case .closeNotify: return .closeNotify
        case .alert(let alert):
            isDead = true
            if alert == TLSAlert.noApplicationProtocol { return .failed(.alpn) }
            return .failed(.tls("the peer sent the alert \(TLSAlert.name(alert))"))
        case .broken(let alert, let reason):
            records!.sendAlert(alert, to: &output)
            isDead = true
            return .failed(.tls(reason))
        }
    }

    /// libssl copies; with our own records nothing is read to `scratch`.
    var readsToScratch: Bool { records == nil }

    private func readLibssl(_ scratch: UnsafeMutableRawBufferPointer) -> Read {
        var count = 0
        let result = SSL_read_ex(ssl, scratch.baseAddress, scratch.count, &count)
        if result == 1 { return .plaintext(UnsafeMutableRawBufferPointer(rebasing: scratch[..<count])) }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .needsInput
        case SSL_ERROR_ZERO_RETURN: return .closeNotify
        case let reason: return .failed(fail(reason))
        }
    }

    // MARK: Plaintext in

    /// Why sending failed; set by `seal`.
    private(set) var sendFailure: ConnectionEnd?

    /// To be called before records are opened, when none is.
    func beginWriting() {
        ERR_clear_error()
        if !isDead, records != nil { records!.updateKeysIfDue(&output) }
    }

    /// Room for a record: for its header, its content and what `RecordCipher` adds; sealed by the next call of `seal`.
    /// Rooms follow each other in memory as long as they fit in one chunk.
    func roomForRecord(atLeast least: Int) -> UnsafeMutableRawBufferPointer {
        guard records == nil else { return output.roomAtEnd(atLeast: least) }
        let chunk = staging ?? ChunkPool.take()
        staging = chunk
        if ChunkPool.chunkSize - staged < least { staged = 0 }
        return UnsafeMutableRawBufferPointer(start: chunk + staged, count: ChunkPool.chunkSize - staged)
    }

    func seal(_ record: UnsafeMutableRawPointer, count: Int) {
        guard !isDead else { return }
        guard records == nil else { return output.advance(records!.seal(record, count: count)) }
        var written = 0
        staged += count + RecordCipher.overhead
        let result = SSL_write_ex(ssl, record + RecordCipher.headerCount, count, &written)
        if result != 1 { sendFailure = fail(SSL_get_error(ssl, result)) }
    }

    /// No record is open; memory that was only asked for is given back.
    func endWriting() {
        output.trim()
        guard let staging else { return }
        ChunkPool.put(staging)
        self.staging = nil
        staged = 0
    }

    /// Nothing can be sent after it.
    func sendCloseNotify() {
        guard isEstablished, !isDead else { return }
        isDead = true
        if records != nil { return records!.sendCloseNotify(to: &output) }
        ERR_clear_error()
        SSL_shutdown(ssl)
        ERR_clear_error()
    }

    // MARK: What was agreed

    private func agreedOnHTTP2(_ ssl: OpaquePointer) -> Bool {
        var name: UnsafePointer<UInt8>?
        var length: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &length)
        return UnsafeBufferPointer(start: name, count: Int(length)).elementsEqual("h2".utf8)
    }

    /// By the names of RFC 8446 and of SSL_CTX_set1_groups_list, whichever OpenSSL gives.
    private func group(_ ssl: OpaquePointer) -> String? {
        guard let name = culvert_SSL_group_name(ssl).map({ String(cString: $0) }) else { return nil }
        switch name {
        case "x25519": return "X25519"
        case "secp256r1", "prime256v1": return "P-256"
        default: return name
        }
    }

    // MARK: Failure

    /// libssl has put the alert into `output` already.
    private func fail(_ sslError: Int32) -> ConnectionEnd {
        isDead = true
        let entry = OpenSSLErrorQueue.drain()
        switch flaw {
        case .alpn: return .alpn
        case .refused(let reason): return .peerRefused(reason)
        case nil: break
        }
        if !isEstablished, let speaks = opening.notTLS { return .tls(speaks) }
        guard let entry, entry.library == ERR_LIB_SSL else { return .tls(entry?.text ?? "error \(sslError)") }
        // Alerts received are numbered from 1000 (SSL_AD_REASON_OFFSET).
        if entry.reason == SSL_AD_REASON_OFFSET + TLSAlert.noApplicationProtocol { return .alpn }
        if entry.reason >= SSL_AD_REASON_OFFSET {
            return .tls("the peer sent the alert \(TLSAlert.name(entry.reason - SSL_AD_REASON_OFFSET))")
        }
        return .tls(Self.explain(entry))
    }

    private static func explain(_ entry: OpenSSLErrorQueue.Entry) -> String {
        switch entry.reason {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the peer presented no certificate"
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_UNKNOWN_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW:
            "unsupported protocol version: the peer does not speak TLS 1.3"
        case SSL_R_WRONG_VERSION_NUMBER: "not TLS: a record has no TLS version"
        case SSL_R_NO_SHARED_CIPHER: "no cipher suite in common"
        case SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SHARED_GROUPS: "no key exchange group in common"
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "a record was forged or damaged"
        case SSL_R_EXCESSIVE_MESSAGE_SIZE:
            "the peer's certificates are more than \(TLSContext.peerChainBytesMax) bytes, or a message is too large"
        default: entry.text
        }
    }

    // MARK: For libssl

    func takeInput(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
        let part = min(count, input.count)
        guard part > 0, let from = input.baseAddress else { return 0 }
        bytes.copyMemory(from: from, byteCount: part)
        input = UnsafeMutableRawBufferPointer(rebasing: input[part...])
        return part
    }
}
