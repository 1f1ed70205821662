import NIOSSL
import Synchronization

/// What is shown to the API server now: files are looked at with every request, and read when they have changed.
final class ClusterCredentials: Sendable {
    private struct State {
        var token: (version: LocalFile.Version?, text: String)?
        var tls: (versions: [LocalFile.Version?], configuration: TLSConfiguration)?
    }

    private let configuration: ClusterConfiguration
    private let state = Mutex(State())

    init(_ configuration: ClusterConfiguration) {
        self.configuration = configuration
    }

    /// The bearer token. One that cannot be read any more is used on until the server refuses it.
    func token() throws(ClusterConfigurationError) -> String? {
        switch configuration.token {
        case nil: return nil
        case .text(let text): return text
        case .file(let path):
            let version = LocalFile.version(path)
            let known = state.withLock { $0.token }
            if let known, version == nil || known.version == version { return known.text }
            do {
                let text = try Self.readToken(path)
                state.withLock { $0.token = (version, text) }
                return text
            } catch {
                guard let known else { throw error }
                return known.text
            }
        }
    }

    private static func readToken(_ path: String) throws(ClusterConfigurationError) -> String {
        let text = try LocalFile.text(path)
        guard !text.isEmpty else { throw .malformed(path: path, reason: "it is empty") }
        // A token with a line in it would be a header of its own.
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .malformed(path: path, reason: "it is not a token")
        }
        return text
    }

    /// The server has refused the token: it is read again whatever the file looks like. True if it is another one now.
    func forgetToken() -> Bool {
        guard case .file(let path) = configuration.token else { return false }
        let version = LocalFile.version(path)
        guard let text = try? Self.readToken(path) else { return false }
        return state.withLock { state in
            defer { state.token = (version, text) }
            return state.token?.text != text
        }
    }

    /// The same value as long as no file has changed, so that connections can be used again.
    func tls() throws(ClusterConfigurationError) -> TLSConfiguration {
        let files = [configuration.authorities, configuration.clientCertificate, configuration.clientKey]
        let versions = files.map { material -> LocalFile.Version? in
            guard case .file(let path) = material else { return nil }
            return LocalFile.version(path)
        }
        let known = state.withLock { $0.tls }
        if let known, known.versions == versions { return known.configuration }
        do {
            let fresh = try makeTLS()
            state.withLock { $0.tls = (versions, fresh) }
            return fresh
        } catch {
            // Files in the middle of being replaced: what was good is.
            guard let known else { throw error }
            return known.configuration
        }
    }

    private func makeTLS() throws(ClusterConfigurationError) -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        tls.certificateVerification = configuration.verifiesServer ? .fullVerification : .none
        if let authorities = configuration.authorities {
            let (bytes, name) = try read(authorities, "certificate-authority-data")
            tls.trustRoots = .certificates(try certificates(bytes, name))
        }
        if let certificate = configuration.clientCertificate, let key = configuration.clientKey {
            let (chain, chainName) = try read(certificate, "client-certificate-data")
            let (keyBytes, keyName) = try read(key, "client-key-data")
            tls.certificateChain = try certificates(chain, chainName).map { .certificate($0) }
            do {
                tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: keyBytes, format: .pem))
            } catch {
                throw .malformed(path: keyName, reason: "it is not a private key in PEM")
            }
        }
        return tls
    }

    private func certificates(
        _ bytes: [UInt8], _ name: String
    ) throws(ClusterConfigurationError) -> [NIOSSLCertificate] {
        guard let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes), !certificates.isEmpty else {
            throw .malformed(path: name, reason: "it has no certificates in PEM")
        }
        return certificates
    }

    private func read(
        _ material: ClusterConfiguration.Material, _ name: String
    ) throws(ClusterConfigurationError) -> (bytes: [UInt8], name: String) {
        switch material {
        case .bytes(let bytes): (bytes, "\(configuration.origin), \(name)")
        case .file(let path): (try LocalFile.bytes(path), path)
        }
    }
}
