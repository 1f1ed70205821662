import Crypto
import SPIFFE
import X509

/// One self-signed authority for each kind of key that we can make here.
func keyedRoots() throws -> [Certificate] {
    let keys: [Certificate.PrivateKey] = [
        .init(P256.Signing.PrivateKey()), .init(P384.Signing.PrivateKey()), .init(P521.Signing.PrivateKey()),
        .init(Curve25519.Signing.PrivateKey()),
    ]
    return try keys.map { key in try TestAuthority.root { $0.key = key }.certificate }
}
