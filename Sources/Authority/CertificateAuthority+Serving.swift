internal import Crypto
public import SPIFFE
internal import SwiftASN1
internal import X509

extension CertificateAuthority {
    /// The identity that the authority itself serves under, with a key made for it and held in memory only.
    public func servingIdentity() async throws(Denial) -> X509SVID {
        let now = clock()
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        do {
            let id = try ReservedIdentity.authority(of: trustDomain)
            let certifiable = try CertifiableKey(key.publicKey)
            let names = try configuration.servingNames.flatMap { try LeafTemplate.encoded($0.generalName) }
            let (svid, _) = try await signAndRecord(for: nil) { () throws(Denial) in
                try sign(
                    id, key: certifiable, podUID: nil, node: nil, now: now, names: names)
            } _: { svid async throws(StoreError) in
                try await issuanceLog.record([svid.record])
            }
            released(svid, wanted: now)
            return try X509SVID(certificates: svid.certificates, privateKey: key)
        } catch let denial as Denial {
            throw denied(denial, caller: "the authority", subject: "serving SVID")
        } catch {
            throw denied(.notReady("\(error)"), caller: "the authority", subject: "serving SVID")
        }
    }
}

/// A name of the authority beside its SPIFFE ID, for clients that verify servers by where they found them.
public enum ServingName: Sendable, Hashable {
    case dns(String)
    /// Four bytes or sixteen.
    case address([UInt8])

    var generalName: GeneralName {
        switch self {
        case .dns(let name): .dnsName(name)
        case .address(let bytes): .ipAddress(ASN1OctetString(contentBytes: bytes[...]))
        }
    }
}
