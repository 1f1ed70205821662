internal import SPIFFE
internal import SwiftASN1
internal import X509

/// Certificates and keys out of the files of a plug-in CA. Stricter than readers of PEM are wont to be: what is half a file is none.
enum PluginPEM {
    static func certificates(_ file: PluginFiles.File) throws(PluginFlaw) -> [Certificate] {
        let blocks = try blocks(file)
        var certificates: [Certificate] = []
        for block in blocks {
            if block.isPrivateKey { throw .privateKeyAmongCertificates(file.name) }
            guard block.label == Certificate.defaultPEMDiscriminator else {
                throw .unexpectedBlock(file.name, label: block.label, line: block.line)
            }
            guard let certificate = try? Certificate(derEncoded: block.der) else {
                throw .malformedCertificate(file.name, position: certificates.count + 1)
            }
            certificates.append(certificate)
        }
        guard !certificates.isEmpty else { throw .noCertificate(file.name) }
        return certificates
    }

    /// The one private key. Curve parameters before it, as `openssl ecparam -genkey` writes them, are passed over.
    static func key(_ file: PluginFiles.File) throws(PluginFlaw) -> Certificate.PrivateKey {
        let blocks = try blocks(file).filter { $0.label != "EC PARAMETERS" }
        if blocks.contains(where: { $0.label == Certificate.defaultPEMDiscriminator }) {
            throw .certificateInsteadOfKey(file.name)
        }
        guard let block = blocks.first(where: \.isPrivateKey) else { throw .noKey(file.name) }
        guard blocks.count == 1 else {
            guard let other = blocks.first(where: { !$0.isPrivateKey }) else { throw .severalKeys(file.name) }
            throw .unexpectedBlock(file.name, label: other.label, line: other.line)
        }
        // By bytes: to Swift CR LF is one character, which is no line feed.
        let lines = file.bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let pem = lines.dropFirst(block.line - 1).map(trimmed).prefix { !$0.hasPrefix("-----END") }
        guard block.label != "ENCRYPTED PRIVATE KEY", !pem.contains(where: { $0.hasPrefix("Proc-Type:") }) else {
            throw .keyEncrypted(file.name)
        }
        let document = (pem + ["-----END \(block.label)-----"]).joined(separator: "\n")
        guard let key = try? Certificate.PrivateKey(pemEncoded: document) else { throw .malformedKey(file.name) }
        return key
    }

    private static func blocks(_ file: PluginFiles.File) throws(PluginFlaw) -> [PEMBlock] {
        let isSpace: (UInt8) -> Bool = { [0x20, 0x09, 0x0a, 0x0d].contains($0) }
        guard !file.bytes.allSatisfy(isSpace) else { throw .empty(file.name) }
        guard file.bytes.first != 0x30 else { throw .der(file.name) }
        let blocks: [PEMBlock]
        do { blocks = try PEMBlock.read(file.bytes) } catch { throw .pem(file.name, error) }
        // Before and between blocks stands what openssl and people write; behind the last, only what went wrong.
        let last = file.bytes.split(separator: UInt8(ascii: "\n")).last { !$0.allSatisfy(isSpace) }
        guard blocks.isEmpty || last?.starts(with: "-----END ".utf8) == true else { throw .trailingText(file.name) }
        return blocks
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
        return String(decoding: line.drop(while: isSpace).reversed().drop(while: isSpace).reversed(), as: UTF8.self)
    }
}
