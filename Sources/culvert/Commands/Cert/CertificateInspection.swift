import FoundationEssentials
import SPIFFE
import X509

/// Everything that one call of `culvert cert inspect` shows.
struct CertificateInspection: Sendable {
    enum Entry: Sendable {
        case certificate(CertificateReport)
        case request(SigningRequestReport)
    }

    let collection: CertificateCollection
    let connection: ConnectionReport?
    private(set) var entries: [Entry] = []
    private(set) var status: InspectionStatus

    init(
        _ collection: CertificateCollection, connection: ConnectionReport? = nil, roots: CertificateRoots?, now: Date
    ) async {
        self.collection = collection
        self.connection = connection
        status = collection.problems.isEmpty ? .well : .unreadable
        for member in collection.members {
            switch member.item {
            case .request(let request): entries.append(.request(SigningRequestReport(request, at: member.place)))
            case .certificate(let certificate):
                var report = CertificateReport(certificate, at: member.place, issuers: member.following, now: now)
                if member.isFirstCertificate {
                    report.verification = await roots?.verify([certificate] + member.following, now: now)
                }
                status = status.joined(report.status)
                entries.append(.certificate(report))
            }
        }
    }
}
