import Synchronization
import X509

/// The authorities of one trust domain for one verification, which may look only so often.
///
/// The verifier searches all orders of the certificates that a peer sent, and checks a signature at each step.
/// Certificates
/// that share one key and name make every order look plausible; the bound keeps that search from costing more than a
/// few
/// honest handshakes.
struct AuthoritySearch: CustomCertificateStore {
    private var authorities: [DistinguishedName: [Certificate]]
    private let budget: Budget

    init(_ authorities: [DistinguishedName: [Certificate]], steps: Int) {
        self.authorities = authorities
        budget = Budget(steps)
    }

    subscript(subject: DistinguishedName) -> [Certificate]? {
        budget.spend() ? authorities[subject] : nil
    }

    func contains(_ certificate: Certificate) -> Bool {
        authorities[certificate.subject]?.contains(certificate) == true
    }

    mutating func append(contentsOf certificates: some Sequence<Certificate>) {
        for certificate in certificates { authorities[certificate.subject, default: []].append(certificate) }
    }

    static func == (left: AuthoritySearch, right: AuthoritySearch) -> Bool { left.authorities == right.authorities }

    func hash(into hasher: inout Hasher) { hasher.combine(authorities) }

    private final class Budget: Sendable {
        private let left: Mutex<Int>

        init(_ steps: Int) { left = Mutex(steps) }

        func spend() -> Bool {
            left.withLock { left in
                left -= 1
                return left >= 0
            }
        }
    }
}
