import FoundationEssentials

/// One `-----BEGIN …-----` block of a PEM text (RFC 7468), with the line it began on.
///
/// Text between blocks is ignored, as `openssl x509 -text` writes it. A private key's body is not even decoded: what is
/// not
/// in memory cannot be printed.
public struct PEMBlock: Hashable, Sendable {
    /// In bytes, of the whole text.
    public static let maximumBytes = 4 * 1024 * 1024

    public let label: String
    /// Empty for a private key.
    public let der: [UInt8]
    /// Of the `BEGIN` line, counted from 1.
    public let line: Int

    public var isPrivateKey: Bool { label.hasSuffix("PRIVATE KEY") }

    private static let begin = "-----BEGIN "
    private static let end = "-----END "
    private static let dashes = "-----"

    /// Every block, in order; none is not an error.
    public static func read(_ text: some Collection<UInt8>) throws(PEMError) -> [PEMBlock] {
        guard text.count <= maximumBytes else { throw PEMError(line: 1, problem: .tooLarge(text.count)) }
        var blocks: [PEMBlock] = []
        var open: (label: String, line: Int, body: [UInt8])?
        var number = 0
        for rawLine in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let line = trimmed(rawLine)
            if let label = boundary(line, begin) {
                if let open { throw PEMError(line: open.line, problem: .unfinished(open.label)) }
                open = (label, number, [])
            } else if let label = boundary(line, end) {
                guard let finished = open else { throw PEMError(line: number, problem: .endWithoutBegin(label)) }
                guard finished.label == label else {
                    throw PEMError(line: number, problem: .labelMismatch(begin: finished.label, end: label))
                }
                blocks.append(try block(label: label, line: finished.line, body: finished.body))
                open = nil
            } else if open?.label.hasSuffix("PRIVATE KEY") == false {
                open?.body.append(contentsOf: line)
            }
        }
        if let open { throw PEMError(line: open.line, problem: .unfinished(open.label)) }
        return blocks
    }

    private static func block(label: String, line: Int, body: [UInt8]) throws(PEMError) -> PEMBlock {
        guard !label.hasSuffix("PRIVATE KEY") else { return PEMBlock(label: label, der: [], line: line) }
        guard !body.isEmpty, let der = Data(base64Encoded: Data(body)), !der.isEmpty else {
            throw PEMError(line: line, problem: .notBase64(label))
        }
        return PEMBlock(label: label, der: Array(der), line: line)
    }

    private static func trimmed<Bytes: Collection<UInt8>>(_ line: Bytes) -> [UInt8] {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
        var bytes = Array(line.drop(while: isSpace))
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }

    /// The label of a boundary line; `nil` for every other line. Labels are printable ASCII without control characters
    /// (RFC 7468 section 3).
    private static func boundary(_ line: [UInt8], _ prefix: String) -> String? {
        guard line.count <= 128, line.starts(with: prefix.utf8), line.count >= prefix.utf8.count + dashes.utf8.count,
            line.suffix(dashes.utf8.count).elementsEqual(dashes.utf8)
        else { return nil }
        let label = line[prefix.utf8.count..<(line.count - dashes.utf8.count)]
        guard label.allSatisfy({ (0x20...0x7e).contains($0) }) else { return nil }
        return String(decoding: label, as: UTF8.self)
    }
}

/// What is wrong with a PEM text, and on which line.
public struct PEMError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        case tooLarge(Int)
        case unfinished(String)
        case endWithoutBegin(String)
        case labelMismatch(begin: String, end: String)
        case notBase64(String)
    }

    public let line: Int
    public let problem: Problem

    public var description: String {
        switch problem {
        case .tooLarge(let bytes): "\(bytes) bytes of PEM; at most \(PEMBlock.maximumBytes) are read"
        case .unfinished(let label):
            "line \(line): \"BEGIN \(label)\" has no \"END \(label)\" before the next block or the end"
        case .endWithoutBegin(let label): "line \(line): \"END \(label)\" without a \"BEGIN \(label)\" before it"
        case .labelMismatch(let begin, let end): "line \(line): \"END \(end)\" closes \"BEGIN \(begin)\""
        case .notBase64(let label): "line \(line): the body of this \(label) is not base64"
        }
    }
}
