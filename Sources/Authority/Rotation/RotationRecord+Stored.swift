internal import Crypto
internal import FoundationEssentials

/// A record as every store keeps it: JSON with its SHA-256 beside it, so that what was altered is not followed.
extension RotationRecord {
    /// How many records before the last checkpoint are kept for the operator to read.
    static let history: Int64 = 1000

    var isCheckpoint: Bool {
        if case .checkpoint = step { true } else { false }
    }

    /// Whole seconds are exact in a `Double`, and every date in a record is one.
    func stored() throws -> (bytes: [UInt8], digest: [UInt8]) {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .secondsSince1970
        encoder.outputFormatting = .sortedKeys
        let bytes = [UInt8](try encoder.encode(self))
        return (bytes, Array(SHA256.hash(data: bytes)))
    }

    init(stored bytes: [UInt8], digest: [UInt8], position: Int64, path: String) throws(StoreError) {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .secondsSince1970
        guard digest == Array(SHA256.hash(data: bytes)),
            let record = try? decoder.decode(RotationRecord.self, from: Data(bytes)),
            Int64(record.position) == position
        else { throw .corrupted(path: path, reason: "rotation record \(position) cannot be read") }
        self = record
    }
}
