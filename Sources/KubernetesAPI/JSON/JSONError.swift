/// Why a document is not what was asked for, and the byte of it at which that was seen.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    public enum Reason: String, Sendable {
        case truncated = "it ends early"
        case malformed = "it is not JSON"
        case trailingBytes = "bytes follow the document"
        case tooDeep = "it is nested too deeply"
        case notAnObject = "an object was expected"
        case notAnArray = "an array was expected"
        case notAString = "a string was expected"
        case notABool = "true or false was expected"
        case notAnInteger = "a whole number was expected"
        case notUTF8 = "a string is not UTF-8"
        case wrongKind = "it is of another kind than the one asked for"
    }

    public let reason: Reason
    public let offset: Int

    public var description: String { "bad JSON at byte \(offset): \(reason.rawValue)" }
}
