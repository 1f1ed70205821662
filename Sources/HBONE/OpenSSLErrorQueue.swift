import COpenSSL

/// The calling thread's OpenSSL errors. Must be empty before any call that is followed by `SSL_get_error`.
enum OpenSSLErrorQueue {
    struct Entry {
        let library: Int32
        let reason: Int32
        let text: String
    }

    /// The oldest error, which is the cause; all others are dropped with it.
    static func drain() -> Entry? {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return nil }
        let text = ERR_reason_error_string(code).map { String(cString: $0) }
        return Entry(library: ERR_GET_LIB(code), reason: ERR_GET_REASON(code), text: text ?? "error \(code)")
    }

    static func drainText() -> String { drain()?.text ?? "no reason given" }
}
