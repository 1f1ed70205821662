/// The fields of one request or response as they are decoded; keeps the few that HBONE knows, and what is wrong.
struct HTTP2FieldBlock {
    private let bytesMax: Int
    private let fieldsMax: Int
    private(set) var stream: Int32 = 0
    private var bytes = 0
    private var fields = 0
    private var sawRegular = false
    /// The first thing that is wrong.
    private(set) var flaw: String?
    private(set) var isTooLarge = false
    /// Too large by so much that it is no mistake: a few bytes can name the same large field again and again.
    var isBomb: Bool { bytes > 8 * bytesMax || fields > 8 * fieldsMax }

    private var method: String?
    private var authority: String?
    private var statusText: String?
    private var scheme: String?
    private var path: String?
    private var extendedProtocol: String?
    private var baggage: String?
    private var forwarded: String?
    private var traceparent: String?
    private var forwardedNetwork: String?
    /// `x-culvert-reason`
    private(set) var reason: String?

    init(bytesMax: Int, fieldsMax: Int) {
        self.bytesMax = bytesMax
        self.fieldsMax = fieldsMax
    }

    mutating func begin(stream: Int32) {
        self = HTTP2FieldBlock(bytesMax: bytesMax, fieldsMax: fieldsMax)
        self.stream = stream
    }

    mutating func add(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        bytes &+= name.count &+ value.count &+ 32
        fields &+= 1
        guard bytes <= bytesMax, fields <= fieldsMax else {
            isTooLarge = true
            return
        }
        if name.first == UInt8(ascii: ":") { addPseudo(name, value) } else { addRegular(name, value) }
    }

    private mutating func addPseudo(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        if sawRegular { return flawed("pseudo-header after a header") }
        guard !value.isEmpty, ConnectRequest.isValue(value) else { return flawed("pseudo-header with no proper value") }
        if name.elementsEqual(":authority".utf8), !ConnectRequest.isAuthority(value) {
            return flawed("no valid authority pseudo header")
        }
        let text = String(decoding: value, as: UTF8.self)
        switch true {
        case name.elementsEqual(":method".utf8): setOnce(\.method, text)
        case name.elementsEqual(":authority".utf8): setOnce(\.authority, text)
        case name.elementsEqual(":status".utf8): setOnce(\.statusText, text)
        case name.elementsEqual(":scheme".utf8): setOnce(\.scheme, text)
        case name.elementsEqual(":path".utf8): setOnce(\.path, text)
        case name.elementsEqual(":protocol".utf8): setOnce(\.extendedProtocol, text)
        default: flawed("unknown pseudo-header")
        }
    }

    private mutating func addRegular(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        sawRegular = true
        guard !name.isEmpty, name.allSatisfy({ 0x21...0x7e ~= $0 && !(0x41...0x5a ~= $0) && $0 != 0x3a }) else {
            return flawed("malformed header name")
        }
        // Field values that cannot be carried in HTTP at all (RFC 9113 8.2.1).
        if value.contains(where: { $0 == 0 || $0 == 0x0a || $0 == 0x0d }) { return flawed("malformed header value") }
        switch true {
        case name.elementsEqual("baggage".utf8): append(\.baggage, value)
        case name.elementsEqual("forwarded".utf8): append(\.forwarded, value)
        case name.elementsEqual("traceparent".utf8): keepFirst(\.traceparent, value)
        case name.elementsEqual("x-forwarded-network".utf8): keepFirst(\.forwardedNetwork, value)
        case name.elementsEqual("x-culvert-reason".utf8): keepFirst(\.reason, value)
        default: break
        }
    }

    private mutating func flawed(_ what: String) { flaw = flaw ?? what }

    private mutating func setOnce(_ field: WritableKeyPath<Self, String?>, _ text: String) {
        if self[keyPath: field] != nil { flawed("pseudo-header given twice") }
        self[keyPath: field] = text
    }

    private mutating func keepFirst(_ field: WritableKeyPath<Self, String?>, _ value: UnsafeBufferPointer<UInt8>) {
        if self[keyPath: field] == nil, ConnectRequest.isValue(value) {
            self[keyPath: field] = String(decoding: value, as: UTF8.self)
        }
    }

    /// Several fields of a list-valued name are one, joined by commas (RFC 9110 5.3).
    private mutating func append(_ field: WritableKeyPath<Self, String?>, _ value: UnsafeBufferPointer<UInt8>) {
        guard ConnectRequest.isValue(value) else { return }
        let text = String(decoding: value, as: UTF8.self)
        guard let before = self[keyPath: field] else { return self[keyPath: field] = text }
        if before.utf8.count + 1 + value.count <= ConnectRequest.valueBytesMax {
            self[keyPath: field] = before + "," + text
        }
    }

    // MARK: What it was

    enum Request {
        case connect(ConnectRequest)
        case refused(status: Int, String)
    }

    /// Plain CONNECT only: `:method` and `:authority`, neither `:scheme` nor `:path` (RFC 9113 8.5).
    var request: Request {
        if isTooLarge {
            return .refused(status: 431, "the request header is more than \(bytesMax) bytes or \(fieldsMax) fields")
        }
        if let flaw { return .refused(status: 400, flaw) }
        guard let method else { return .refused(status: 400, "no method pseudo header") }
        guard method == "CONNECT" else {
            return .refused(status: 400, "expected method CONNECT, got \(method.prefix(32))")
        }
        guard extendedProtocol == nil else { return .refused(status: 400, "extended CONNECT is not served") }
        guard scheme == nil, path == nil, statusText == nil else {
            return .refused(status: 400, "CONNECT with a :scheme, :path or :status")
        }
        guard let authority else { return .refused(status: 400, "no valid authority pseudo header") }
        return .connect(
            ConnectRequest(
                authority: authority, baggage: baggage, forwarded: forwarded, traceparent: traceparent,
                forwardedNetwork: forwardedNetwork))
    }

    /// Of a response; `nil` if it is malformed.
    var status: Int? {
        guard !isTooLarge, flaw == nil, let statusText, statusText.utf8.count == 3,
            statusText.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let status = Int(statusText), status >= 100
        else { return nil }
        return status
    }
}
