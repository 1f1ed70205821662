import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

@Suite("X509-SVIDs")
struct X509SVIDTests {
    private func error(_ certificates: [Certificate], _ key: Certificate.PrivateKey) -> SVIDError? {
        do { _ = try X509SVID(certificates: certificates, privateKey: key) } catch { return error }
        return nil
    }

    @Test("holds leaf, intermediates and key when they fit, and gives them as DER")
    func fits() throws {
        let root = try TestAuthority.root()
        let intermediate = try root.intermediate()
        let leaf = try intermediate.leafAndKey { $0.serial = .init(bytes: [0x0a, 0xff]) }
        let svid = try X509SVID(certificates: [leaf.certificate, intermediate.certificate], privateKey: leaf.key)
        #expect(svid.id.description == "spiffe://td.test/ns/shop/sa/web")
        #expect(svid.serialNumber == "0aff")
        #expect(svid.notAfter == testNow.addingTimeInterval(3600))
        #expect(try svid.certificatesDER() == [leaf.certificate.der(), intermediate.certificate.der()])
        let key = try Certificate.PrivateKey(
            pemDocument: PEMDocument(type: "PRIVATE KEY", derBytes: svid.privateKeyDER()))
        #expect(key.publicKey == leaf.certificate.publicKey)
    }

    @Test("refuses a key that is not the leaf's, a wrong order, a leaf against the standard, and nothing at all")
    func refuses() throws {
        let root = try TestAuthority.root()
        let intermediate = try root.intermediate()
        let leaf = try intermediate.leafAndKey()
        #expect(error([leaf.certificate, intermediate.certificate], root.key) == .keyMismatch)
        #expect(error([leaf.certificate, root.certificate], leaf.key) == .outOfOrder(position: 2))
        #expect(
            error([leaf.certificate, intermediate.certificate, intermediate.certificate], leaf.key)
                == .outOfOrder(position: 3))
        #expect(error([], leaf.key) == .noCertificates)
        let nameless = try root.leafAndKey { $0.names = [] }
        #expect(error([nameless.certificate], nameless.key) == .identity(.noURIName))
        let signing = try root.leafAndKey { $0.usage = KeyUsage(digitalSignature: true, keyCertSign: true) }
        #expect(error([signing.certificate], signing.key)?.description.contains("X-10") == true)
        #expect(error([root.certificate], root.key) != nil)
    }

    @Test("every kind of key can be written as PKCS #8")
    func keys() throws {
        let root = try TestAuthority.root()
        let keys: [Certificate.PrivateKey] = [
            .init(P256.Signing.PrivateKey()), .init(P384.Signing.PrivateKey()), .init(P521.Signing.PrivateKey()),
            .init(Curve25519.Signing.PrivateKey()),
        ]
        for key in keys {
            let leaf = try root.leafAndKey { $0.key = key }
            let svid = try X509SVID(certificates: [leaf.certificate], privateKey: key)
            let document = PEMDocument(type: "PRIVATE KEY", derBytes: try svid.privateKeyDER())
            #expect(try Certificate.PrivateKey(pemDocument: document).publicKey == key.publicKey)
        }
    }
}
