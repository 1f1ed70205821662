import Glibc

/// A kernel call that failed, with the reason the kernel gave.
public struct Errno: Error, Equatable, Sendable {
    /// As in `errno.h`, positive.
    public let code: Int32
    /// The call, and what it was about where that helps: `bind [::]:15008`.
    public let call: String

    public init(code: Int32, call: String) {
        self.code = code
        self.call = call
    }

    /// The process or the system has no descriptors or no memory left: waiting helps, retrying at once does not.
    public var isExhaustion: Bool { [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code) }
}

extension Errno: CustomStringConvertible {
    public var description: String {
        var text = [CChar](repeating: 0, count: 128)
        let reason =
            strerror_r(code, &text, text.count) == 0 ? text.withUnsafeBufferPointer(Errno.string) : "errno \(code)"
        return "\(call): \(reason)"
    }

    private static func string(_ text: UnsafeBufferPointer<CChar>) -> String {
        String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The result of a CLinux call, unless it is a negated errno.
@discardableResult
func checked(_ result: Int32, _ call: @autoclosure () -> String) throws(Errno) -> Int32 {
    guard result >= 0 else { throw Errno(code: -result, call: call()) }
    return result
}
