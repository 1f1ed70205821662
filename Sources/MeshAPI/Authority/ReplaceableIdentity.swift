public import NIOCertificateReloading
public import NIOSSL
public import SPIFFE
import Synchronization

/// The SVID, or another certificate, that one side of the authority's connections presents; replaced while they stay open.
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

    /// Certificates, leaf first, and their key, as the Web's servers have them.
    public struct PEM: Hashable, Sendable {
        public var certificates: String
        public var key: String

        public init(certificates: String, key: String) {
            self.certificates = certificates
            self.key = key
        }
    }

    public init(pem: PEM) throws {
        current = Mutex(try Self.handshakeIdentity(pem))
    }

    public func replace(with pem: PEM) throws {
        let identity = try Self.handshakeIdentity(pem)
        current.withLock { $0 = identity }
    }

    public var sslContextConfigurationOverride: NIOSSLContextConfigurationOverride { current.withLock { $0 } }

    private static func handshakeIdentity(_ pem: PEM) throws -> NIOSSLContextConfigurationOverride {
        var identity = NIOSSLContextConfigurationOverride()
        let chain = try NIOSSLCertificate.fromPEMBytes(Array(pem.certificates.utf8)).map {
            NIOSSLCertificateSource.certificate($0)
        }
        let key = NIOSSLPrivateKeySource.privateKey(try NIOSSLPrivateKey(bytes: Array(pem.key.utf8), format: .pem))
        // The library takes each, and finds out in a handshake that they are not each other's: better now.
        let configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: key)
        _ = try NIOSSLContext(configuration: configuration)
        identity.certificateChain = chain
        identity.privateKey = key
        return identity
    }

    private static func handshakeIdentity(_ svid: X509SVID) throws -> NIOSSLContextConfigurationOverride {
        var identity = NIOSSLContextConfigurationOverride()
        identity.certificateChain = try svid.certificatesDER().map {
            .certificate(try NIOSSLCertificate(bytes: $0, format: .der))
        }
        identity.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: svid.privateKeyDER(), format: .der))
        return identity
    }
}
