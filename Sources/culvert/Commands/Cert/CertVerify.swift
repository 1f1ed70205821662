import ArgumentParser
import FoundationEssentials
import Glibc
import SPIFFE
import X509

/// `culvert cert verify`: what a peer would say.
struct CertVerify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Verify a chain as a peer in the mesh does, and say why it would be refused.",
        discussion: """
            FILE is what a workload presents: its certificate, then intermediates. It is
            given to the same verifier that proxies use in their handshakes. --roots is the
            trust bundle, PEM or JWKS. Neither form says whose it is: name its trust domain
            with --trust-domain, or it is taken for that of the certificate.
            A CA is verified as such (RFC 5280), whatever its domain, unless --role is given.

            EXAMPLES
              culvert cert verify --roots bundle.json svid-chain.pem
              culvert cert verify --roots root.pem --role client svid-chain.pem
              culvert cert verify --roots root.pem --trust-domain example.org svid.pem
              culvert cert verify --roots root.pem --at 2027-01-01T00:00:00Z svid.pem
              culvert cert verify --roots new-root.pem /etc/ssl/mine   still good then?
              culvert cert verify --roots root.pem --format json svid.pem |
                jq -r '.entries[].verdicts[].reason'

            EXIT STATUS
              0   verified in each role
              2   not found, not readable, or no certificate in it
              3   refused, and it has expired
              4   refused, and it is not valid yet
              5   refused
              64  wrong usage
              When several apply, the first of them.
            """
    )

    enum Role: String, ExpressibleByArgument, CaseIterable, Encodable {
        case client, server

        var peer: PeerVerifier.Role {
            switch self {
            case .client: .client
            case .server: .server
            }
        }
    }

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String

    @Option(help: ArgumentHelp("The trust bundle, PEM or JWKS.", valueName: "FILE"))
    var roots: String

    @Option(help: ArgumentHelp("Whose roots these are.", valueName: "NAME"))
    var trustDomain: String?

    @Option(help: "client or server: what the one who presents it is; without it, both.")
    var role: Role?

    @Option(help: "text, json or yaml.")
    var format: AnswerFormat = .text

    @OptionGroup var time: JudgedTime

    func validate() throws {
        guard let trustDomain else { return }
        do { _ = try TrustDomain(trustDomain) } catch {
            throw ValidationError("--trust-domain \(trustDomain): \(error)")
        }
    }

    func run() async throws {
        try await CertificateAnswer.give {
            let verifier = try CertificateRoots(CertificateSource.file(roots))
            var collection = try CertificateCollection(at: path, everything: false)
            collection.keepCertificates(otherwise: "verify what is signed from it")
            var entries: [ChainJudgement] = []
            let now = time.date
            for member in collection.members {
                if let entry = try await judgement(of: member, by: verifier, now: now) { entries.append(entry) }
            }
            let worst = entries.reduce(InspectionStatus.well) { $0.joined($1.status) }
            let ink = Ink(for: STDOUT_FILENO)
            return CertificateAnswer(
                output: try format.document?.text(CertificateDocument(entries, of: collection))
                    ?? entries.map { $0.text(ink: ink, now: now) }.joined(),
                // The other certificates of a file are its chain.
                notes: collection.notes(ink: Ink(for: STDERR_FILENO), namesRemainders: false),
                status: (collection.problems.isEmpty ? worst : .unreadable).rawValue)
        }
    }

    private func judgement(
        of member: CertificateCollection.Member, by verifier: CertificateRoots, now: Date
    ) async throws -> ChainJudgement? {
        guard let certificate = member.certificate else { return nil }
        let chain = [certificate] + member.following
        var judgement = ChainJudgement(certificate, at: member.place, roots: roots, now: now)
        if role == nil, SVIDLint.Kind(of: certificate) == .authority {
            judgement.add(await verifier.verify(chain, now: now))
            return judgement
        }
        let domain = try trustDomain.map { try TrustDomain($0) }
        for role in role.map({ [$0] }) ?? Role.allCases {
            do {
                let verdict = try verifier.peerVerdict(chain, as: role.peer, of: domain, now: now)
                judgement.add(verdict, as: role)
            } catch {
                throw CertificateProblem(
                    file: roots, message: "\(error)", hint: "give the roots of one trust domain only")
            }
        }
        if domain == nil { judgement.assumeDomain() }
        return judgement
    }
}

/// What was said to one chain.
struct ChainJudgement: Encodable {
    struct Verdict: Encodable {
        /// `client`, `server`, or `ca`.
        let role: String
        let verified: Bool
        let reason: String?
    }

    let source: CertificatePlace
    let subject: String
    let spiffeID: String?
    /// The end of the leaf; once verified, the earliest end in the chain.
    private(set) var notAfter: Date
    private(set) var verdicts: [Verdict] = []
    /// Where the roots are, taken for those of the domain that the certificate names.
    private(set) var assumedDomain: String?
    private let roots: String
    private let domain: String?
    private let refusal: InspectionStatus

    init(_ certificate: Certificate, at place: CertificatePlace, roots: String, now: Date) {
        source = place
        self.roots = roots
        subject = CertificateNames.distinguished(certificate.subject)
        let id = try? certificate.spiffeID()
        spiffeID = id?.description
        domain = id?.trustDomain.name
        notAfter = certificate.notValidAfter
        refusal =
            now > certificate.notValidAfter
            ? .expired : now < certificate.notValidBefore ? .notYetValid : .unverified
    }

    mutating func add(_ verdict: PeerVerdict, as role: CertVerify.Role) {
        switch verdict {
        case .verified(let peer):
            notAfter = peer.notAfter
            verdicts.append(Verdict(role: role.rawValue, verified: true, reason: nil))
        case .refused(let reason):
            let text = CertificateOutput.printable("\(reason)")
            verdicts.append(Verdict(role: role.rawValue, verified: false, reason: text))
        }
    }

    mutating func add(_ verdict: CertificateRoots.Verdict) {
        verdicts.append(Verdict(role: "ca", verified: verdict.verified, reason: verdict.message))
    }

    mutating func assumeDomain() { assumedDomain = domain }

    var status: InspectionStatus { verdicts.allSatisfy(\.verified) ? .well : refusal }

    func text(ink: Ink, now: Date) -> String {
        let name = spiffeID ?? subject
        var text = "\(source): \(ink(name, .bold))\n"
        for verdict in verdicts {
            let role = verdict.role + String(repeating: " ", count: 8 - verdict.role.utf8.count)
            let reason = verdict.reason.map { ": \($0)" } ?? ""
            let word = verdict.verified ? ink("verified", .good) : ink("refused", .bad)
            text += "  \(role)\(word)\(reason)\n"
        }
        if status == .well {
            let left = CertificateOutput.duration(Int(notAfter.timeIntervalSince(now).rounded(.down)))
            text += "  until   \(notAfter.formatted(.iso8601)), \(left) left\n"
        }
        if let assumedDomain {
            text += ink("  roots   \(CertificateOutput.printable(roots)), taken for those of \(assumedDomain)\n", .dim)
        }
        return text
    }

    enum CodingKeys: String, CodingKey {
        case source, subject, verdicts
        case spiffeID = "spiffe_id"
        case notAfter = "not_after"
        case assumedDomain = "assumed_trust_domain"
    }
}
