internal import Crypto
public import FoundationEssentials
public import SPIFFE
internal import SwiftASN1
public import X509

/// A plug-in CA that was found good, whole: what it signs leads to one of its roots, and peers will accept it.
public struct PluginAuthority: Sendable {
    public let files: PluginFiles
    let signer: SigningAuthority
    /// For the bundle: the signer's own root first; those that have run out are left out.
    public let roots: [Certificate]
    public let revocations: [RevocationList]
    /// What is no flaw, and yet for the operator to know.
    public let remarks: [String]

    /// How many certificates may stand between a leaf and its root: as many as peers accept.
    static let intermediatesMax = PeerVerifier.Limits().intermediates
    /// How far the clocks of whoever signs lists may be ahead.
    static let skew: Duration = .seconds(120)

    /// Looks at everything before anything is used; `known` are CAs whose leaves may live
    /// still, `inForce` the lists that must not become older ones.
    public static func validated(
        _ files: PluginFiles, trustDomain: TrustDomain, leafLifetime: Duration = .seconds(3600),
        known: [Certificate] = [], inForce: [RevocationList] = [], now: Date
    ) throws(PluginFlaw) -> PluginAuthority {
        var examination = PluginExamination(files: files, trustDomain: trustDomain, now: now)
        return try examination.run(leafLifetime: leafLifetime, known: known, inForce: inForce)
    }

    init(
        files: PluginFiles, signer: SigningAuthority, roots: [Certificate], revocations: [RevocationList],
        remarks: [String]
    ) {
        self.files = files
        self.signer = signer
        self.roots = roots
        self.revocations = revocations
        self.remarks = remarks
    }

    /// The root that verifiers must have before anything is signed here.
    var signersRoot: Certificate { roots[0] }

    /// What will go wrong if nobody acts.
    func warnings(leafLifetime: Duration, now: Date) -> [String] {
        var warnings = remarks
        let left = signer.notAfter.timeIntervalSince(now)
        let life = signer.notAfter.timeIntervalSince(signer.certificate.notValidBefore)
        if left < Double(leafLifetime.components.seconds) {
            warnings.append("leaves are cut short: the plug-in CA ends at \(signer.notAfter.iso8601)")
        } else if left < life / 3 {
            warnings.append(
                "the plug-in CA is in the last third of its life and ends at \(signer.notAfter.iso8601): put its successor in place"
            )
        }
        for list in revocations where list.isOverdue(at: now) {
            warnings.append(
                "the revocation list of \(list.issuer) was to be replaced by \(list.nextUpdate?.iso8601 ?? ""); it goes on being honoured"
            )
        }
        return warnings
    }
}

/// The order in which a plug-in CA is looked at: each file alone, then how they fit.
struct PluginExamination {
    let files: PluginFiles
    let trustDomain: TrustDomain
    let now: Date
    private var remarks: [String] = []

    init(files: PluginFiles, trustDomain: TrustDomain, now: Date) {
        self.files = files
        self.trustDomain = trustDomain
        self.now = now
    }

    /// A certificate and how the operator finds it.
    private struct Named {
        let certificate: Certificate
        let file: String
        let position: Int
        let name: String
        let isRoot: Bool

        init(_ certificate: Certificate, _ file: String, _ position: Int, of count: Int) {
            self.certificate = certificate
            self.file = file
            self.position = position
            isRoot = certificate.issuer == certificate.subject
            name = count == 1 ? "\(file)" : "\(file), certificate \(position),"
        }
    }

    mutating func run(
        leafLifetime: Duration, known: [Certificate], inForce: [RevocationList]
    ) throws(PluginFlaw) -> PluginAuthority {
        let own = try certificates(files.certificate)
        try check(own[0], below: 0)
        let key = try PluginPEM.key(files.key)
        let roots = try certificates(files.root)
        let chain = try files.chain.map { file throws(PluginFlaw) in try certificates(file) } ?? []
        guard key.publicKey == own[0].certificate.publicKey else {
            throw .keyMismatch(certificate: files.certificate.name, key: files.key.name)
        }
        let usable = try usableRoots(roots)
        let path = try path(from: own[0], others: Array(own.dropFirst()) + chain, roots: usable)
        try checkLives(path)
        let anchor = path[path.count - 1].certificate
        let signer: SigningAuthority
        do {
            signer = try SigningAuthority(
                certificate: own[0].certificate, key: key, presented: path.dropLast().map(\.certificate),
                notAfter: path.map(\.certificate.notValidAfter).min() ?? anchor.notValidAfter)
        } catch {
            throw .keyMismatch(certificate: files.certificate.name, key: files.key.name)
        }
        let trusted = [anchor] + usable.map(\.certificate).filter { $0 != anchor }
        let revocations = try revocations(path.map(\.certificate) + trusted + known, inForce: inForce)
        if signer.notAfter.timeIntervalSince(own[0].certificate.notValidBefore)
            < Double((leafLifetime * Int(AuthorityLifetimes.issuerToSubjectRatio)).components.seconds)
        {
            remarks.append(
                "the plug-in CA lives less than six times as long as a leaf (\(leafLifetime.inWords)): leaves will be cut short"
            )
        }
        try tryOut(signer, roots: trusted, revocations: revocations)
        return PluginAuthority(
            files: files, signer: signer, roots: trusted, revocations: revocations, remarks: remarks)
    }

    // MARK: One certificate

    private func certificates(_ file: PluginFiles.File) throws(PluginFlaw) -> [Named] {
        let certificates = try PluginPEM.certificates(file)
        return certificates.enumerated().map { Named($1, file.name, $0 + 1, of: certificates.count) }
    }

    /// `below`: how many CAs there are between it and a leaf.
    private func check(_ named: Named, below: Int) throws(PluginFlaw) {
        let certificate = named.certificate
        let length = try checkKind(named)
        if let length, length < below { throw .pathLength(named.name, allowed: length, below: below) }
        // The keys of leaves name their issuer's.
        if below == 0, (try? certificate.extensions.subjectKeyIdentifier) == nil {
            throw .noKeyIdentifier(named.name)
        }
        guard now >= certificate.notValidBefore else {
            throw .notYetValid(named.name, from: certificate.notValidBefore, now: now)
        }
        guard now <= certificate.notValidAfter else {
            throw .expired(named.name, at: certificate.notValidAfter, now: now)
        }
    }

    /// Returns the path length that it allows.
    private func checkKind(_ named: Named) throws(PluginFlaw) -> Int? {
        let certificate = named.certificate
        let kind = PublicKeyKind(certificate.publicKey)
        guard kind.isAcceptable else { throw .unacceptableKey(named.name, kind) }
        guard case .isCertificateAuthority(let length)? = try? certificate.extensions.basicConstraints else {
            throw .notAnAuthority(named.name)
        }
        // Roots from before key usage became customary have none.
        let isOldRoot = named.isRoot && certificate.extensions[oid: .X509ExtensionID.keyUsage] == nil
        guard isOldRoot || (try? certificate.extensions.keyUsage)?.keyCertSign == true else {
            throw .maySignNoCertificates(named.name)
        }
        try checkNames(named)
        return length
    }

    /// CAs of others carry no SPIFFE ID. One that does is the trust domain's own, and names nothing else.
    private func checkNames(_ named: Named) throws(PluginFlaw) {
        for name in (try? named.certificate.extensions.subjectAlternativeNames) ?? SubjectAlternativeNames([]) {
            guard case .uniformResourceIdentifier(let uri) = name, uri.utf8.starts(with: "spiffe:".utf8) else {
                continue
            }
            guard let id = try? SPIFFEID(uri), id.trustDomain == trustDomain, id.path.isEmpty else {
                throw .foreignName(named.name, name: printable(uri), trustDomain: trustDomain)
            }
        }
    }

    /// Roots that have run out are of no use to anybody, and no reason to refuse: an operator's rotation leaves them behind.
    private mutating func usableRoots(_ roots: [Named]) throws(PluginFlaw) -> [Named] {
        guard roots.count <= 16 else { throw .tooManyRoots(roots.count) }
        var usable: [Named] = []
        for root in roots {
            let certificate = root.certificate
            guard certificate.issuer == certificate.subject,
                certificate.publicKey.isValidSignature(certificate.signature, for: certificate)
            else { throw .notARoot(root.file, position: root.position) }
            _ = try checkKind(root)
            guard now <= certificate.notValidAfter else {
                remarks.append("\(root.name) expired at \(certificate.notValidAfter.iso8601) and is not published")
                continue
            }
            usable.append(root)
        }
        if let last = roots.map(\.certificate.notValidAfter).max(), usable.isEmpty {
            throw .allRootsExpired(files.root.name, last: last)
        }
        return usable
    }

    // MARK: All together

    /// From the signing certificate to its root, both included; one alone is both.
    private func path(from signer: Named, others: [Named], roots: [Named]) throws(PluginFlaw) -> [Named] {
        var path = [signer]
        var unused = others.filter { $0.certificate != signer.certificate }
        while true {
            let tip = path[path.count - 1]
            if path.count == 1, roots.contains(where: { $0.certificate == tip.certificate }) { break }
            // Of roots with one key the one that lives longest.
            let issuing = roots.filter { isIssuer($0.certificate, of: tip.certificate) }
            if let root = issuing.max(by: { $0.certificate.notValidAfter < $1.certificate.notValidAfter }) {
                path.append(root)
                break
            }
            guard let index = unused.firstIndex(where: { isIssuer($0.certificate, of: tip.certificate) }) else {
                throw .noWayToRoot(
                    tip.name, subject: printable("\(tip.certificate.subject)"), root: files.root.name)
            }
            path.append(unused.remove(at: index))
            guard path.count <= PluginAuthority.intermediatesMax else {
                throw .tooManyIntermediates(limit: PluginAuthority.intermediatesMax)
            }
        }
        for (below, named) in path.enumerated().dropFirst() { try check(named, below: below) }
        // Once each: the chain file may name again what the others hold.
        let part = path.map(\.certificate) + roots.map(\.certificate)
        if let stranger = unused.first(where: { !part.contains($0.certificate) }) {
            throw .strangerInChain(stranger.file, position: stranger.position)
        }
        return path
    }

    private func isIssuer(_ issuer: Certificate, of certificate: Certificate) -> Bool {
        issuer != certificate && certificate.issuer == issuer.subject
            && issuer.publicKey.isValidSignature(certificate.signature, for: certificate)
    }

    private func checkLives(_ path: [Named]) throws(PluginFlaw) {
        for (named, issuer) in zip(path, path.dropFirst())
        where named.certificate.notValidAfter > issuer.certificate.notValidAfter {
            throw .outlivesIssuer(
                named.name, end: named.certificate.notValidAfter, issuerEnd: issuer.certificate.notValidAfter)
        }
    }

    /// A leaf for nobody, looked at as a peer will look at all the others: name constraints, extended key usages, algorithms and
    /// whatever else a peer may object to are found here.
    private func tryOut(
        _ signer: SigningAuthority, roots: [Certificate], revocations: [RevocationList]
    ) throws(PluginFlaw) {
        let chain: [[UInt8]]
        let verifier: PeerVerifier
        do {
            let content = LeafContent(
                id: try ReservedIdentity.authority(of: trustDomain),
                key: try CertifiableKey(.init(P256.Signing.PrivateKey().publicKey)),
                serial: Certificate.SerialNumber(UInt64(1)),
                validity: .init(now: now, lifetime: .seconds(60), issuerNotAfter: signer.notAfter))
            chain = [try signer.leaf(content, verified: true)] + signer.presentedDER
            let bundle = try TrustBundle(trustDomain: trustDomain, authorities: roots, revocations: revocations)
            verifier = PeerVerifier(bundles: TrustBundleSet([bundle]))
        } catch {
            throw .leavesRefused("\(error)")
        }
        for role in PeerVerifier.Role.allCases {
            if case .refused(let refusal) = verifier.verify(chainDER: chain, role: role, now: now) {
                throw .leavesRefused("\(refusal)")
            }
        }
    }

    // MARK: Revocation

    /// One list of each CA: the newest.
    private mutating func revocations(
        _ authorities: [Certificate], inForce: [RevocationList]
    ) throws(PluginFlaw) -> [RevocationList] {
        guard let file = files.revocations else { return [] }
        let lists: [RevocationList]
        do { lists = try RevocationList.read(file.bytes) } catch { throw .revocations(file.name, error) }
        var newest: [Certificate: RevocationList] = [:]
        for (index, list) in lists.enumerated() {
            guard let signer = authorities.first(where: { list.isSigned(by: $0) }) else {
                throw .foreignRevocations(file.name, position: index + 1)
            }
            guard list.thisUpdate <= now.advanced(by: PluginAuthority.skew) else {
                throw .futureRevocations(file.name, from: list.thisUpdate, now: now)
            }
            if let other = newest[signer], other.thisUpdate >= list.thisUpdate { continue }
            newest[signer] = list
        }
        for (signer, list) in newest {
            for present in inForce where present.isSigned(by: signer) && present.thisUpdate > list.thisUpdate {
                throw .olderRevocations(file.name, inForce: present.thisUpdate, offered: list.thisUpdate)
            }
        }
        let chosen = newest.values.sorted { $0.der.lexicographicallyPrecedes($1.der) }
        do {
            _ = try TrustBundle(trustDomain: trustDomain, authorities: [], revocations: chosen)
        } catch {
            throw .tooManyRevocations(file.name, "\(error)")
        }
        return chosen
    }

    /// What somebody else wrote, for a line of ours.
    private func printable(_ text: String) -> String {
        String(
            decoding: text.utf8.prefix(200).map { (0x20...0x7e).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}
