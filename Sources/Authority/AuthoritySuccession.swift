internal import Crypto
internal import FoundationEssentials
internal import SPIFFE
internal import X509

/// Makes authorities, and the next intermediate in time. Does no I/O: its outcome says what to store. When roots follow one another
/// is `RotationMachine`'s to decide.
///
/// An intermediate is replaced when half of its life is over. Verifiers need nothing for that, since the root stays and the chain carries the
/// intermediate; leaves of the old one are good until they expire. The old one's key is forgotten at once: it signs no more.
struct AuthoritySuccession: Sendable {
    /// How long expired intermediates are kept for the record.
    static let memory: Duration = .seconds(24 * 3600)

    let trustDomain: TrustDomain
    let lifetimes: AuthorityLifetimes
    let seal: KeySeal
    let random: RandomBytes

    struct Outcome: Sendable {
        var authorities: [AuthorityRecord]
        /// To be made durable before anything is signed.
        var change: AuthorityChange
        var activated: AuthorityRecord
    }

    /// The outcome of replacing the intermediate; nil if it is not time yet, or if a new one would not live longer.
    func successor(
        of records: [AuthorityRecord], sequence: UInt64, now: Date
    ) throws(AuthorityError) -> Outcome? {
        let active = records.first { $0.kind == .intermediate && $0.state == .active }
        let root = try activeRoot(of: records)
        // By a clock that is wrong nothing is made that would be of no use by the right one.
        guard now >= root.certificate.notValidBefore, now < root.certificate.notValidAfter else { return nil }
        if let active {
            guard isDue(active, now: now) else { return nil }
            // Close to the root's end a new intermediate gains nothing.
            guard root.certificate.notValidAfter > active.certificate.notValidAfter || isFuture(active, now: now)
            else { return nil }
        }
        let signer = try intermediate(under: SigningAuthority(root, seal: seal), now: now)
        let record = try signer.record(.intermediate, .active, createdAt: now.inWholeSeconds, seal: seal)
        var changed: [AuthorityRecord] = [record]
        var kept: [AuthorityRecord] = []
        var removed: [AuthorityID] = []
        let forgotten = now.advanced(by: .zero - Self.memory)
        for var old in records {
            if old.kind == .intermediate, old.certificate.notValidAfter < forgotten {
                removed.append(old.id)
                continue
            }
            if old.id == active?.id {
                old.state = .old
                old.sealedKey = nil
                changed.append(old)
            }
            kept.append(old)
        }
        return Outcome(
            authorities: kept + [record],
            change: AuthorityChange(
                trustDomain: trustDomain.name, upserts: changed, removals: removed, expectedSequence: sequence,
                newSequence: sequence),
            activated: record
        )
    }

    /// Past the middle of its life, or too old for the leaves that the configuration asks for now.
    private func isDue(_ record: AuthorityRecord, now: Date) -> Bool {
        let end = record.certificate.notValidAfter
        return now >= end.addingTimeInterval(-record.life / 2) || end < now.advanced(by: lifetimes.leaf)
            || isFuture(record, now: now)
    }

    /// It was made while the clock was ahead.
    private func isFuture(_ record: AuthorityRecord, now: Date) -> Bool { now < record.certificate.notValidBefore }

    private func activeRoot(of records: [AuthorityRecord]) throws(AuthorityError) -> AuthorityRecord {
        guard let root = records.first(where: { $0.kind == .root && $0.state == .active }) else { throw .noRoot }
        return root
    }

    func newRoot(now: Date) throws(AuthorityError) -> SigningAuthority {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let certificate: Certificate
        do {
            certificate = try CertificateProfile.root(
                key: key,
                trustDomain: trustDomain,
                serial: CertificateProfile.serialNumber(random),
                validity: .init(now: now, lifetime: lifetimes.root, issuerNotAfter: nil)
            )
        } catch {
            throw .signing("\(error)")
        }
        try CertificateInspection.checkAuthority(certificate, key: key.publicKey, issuer: certificate)
        return try SigningAuthority(certificate: certificate, key: key)
    }

    func intermediate(under root: SigningAuthority, now: Date) throws(AuthorityError) -> SigningAuthority {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let certificate: Certificate
        do {
            certificate = try CertificateProfile.intermediate(
                key: key.publicKey,
                trustDomain: trustDomain,
                serial: CertificateProfile.serialNumber(random),
                validity: .init(now: now, lifetime: lifetimes.intermediate, issuerNotAfter: root.notAfter),
                issuer: root
            )
        } catch {
            throw .signing("\(error)")
        }
        try CertificateInspection.checkAuthority(certificate, key: key.publicKey, issuer: root.certificate)
        return try SigningAuthority(certificate: certificate, key: key)
    }
}
