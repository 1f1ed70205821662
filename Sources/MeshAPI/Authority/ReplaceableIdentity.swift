public import NIOCertificateReloading
public import NIOSSL
public import SPIFFE
import Synchronization

/// The SVID that one side of the authority's connections presents; replaced while they stay open.
///
/// Each handshake takes the newest. Safe to use from any thread.
public final class ReplaceableIdentity: CertificateReloader {
    private let current: Mutex<NIOSSLContextConfigurationOverride>

    /// Throws when the TLS library does not take the certificates or the key.
    public init(_ svid: X509SVID) throws {
        current = Mutex(try Self.handshakeIdentity(svid))
    }

    public func replace(with svid: X509SVID) throws {
        let identity = try Self.handshakeIdentity(svid)
        current.withLock { $0 = identity }
    }

    public var sslContextConfigurationOverride: NIOSSLContextConfigurationOverride { current.withLock { $0 } }

    private static func handshakeIdentity(_ svid: X509SVID) throws -> NIOSSLContextConfigurationOverride {
        var identity = NIOSSLContextConfigurationOverride()
        identity.certificateChain = try svid.certificatesDER().map {
            .certificate(try NIOSSLCertificate(bytes: $0, format: .der))
        }
        identity.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: svid.privateKeyDER(), format: .der))
        return identity
    }
}
