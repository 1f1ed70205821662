import SwiftASN1
import X509

extension SVIDLint.Subject {
    func leafFindings() -> [SVIDLint.Finding] {
        var findings: [SVIDLint.Finding] = []
        switch identity {
        case .success(let id): findings.append(pass("X-1", "one URI name: \(id)"))
        case .failure(let error): findings.append(fail("X-1", "\(error)"))
        }
        findings.append(otherNames())
        findings.append(criticalNames())
        findings.append(leafPath("X-4"))
        if case .success(let id) = identity { findings.append(trustDomainAmongIssuers(id)) }
        findings.append(
            isUnreadable(.X509ExtensionID.basicConstraints, constraints)
                ? fail("X-6", "basicConstraints cannot be read")
                : check(
                    "X-6", !certificate.isAuthority, "not a CA", "basicConstraints says cA true; a leaf is not a CA"))
        findings.append(keyUsagePresence())
        findings.append(
            check(
                "X-8", usage?.digitalSignature == true, "key usage has digitalSignature",
                "key usage lacks digitalSignature"))
        findings.append(keyTransport())
        findings.append(
            check("X-10", usage?.keyCertSign != true, "no keyCertSign", "key usage has keyCertSign; a leaf must not"))
        findings.append(check("X-11", usage?.cRLSign != true, "no cRLSign", "key usage has cRLSign; a leaf must not"))
        findings.append(leafPurposes())
        findings.append(
            has(.X509ExtensionID.nameConstraints)
                ? warn("X-13", "name constraints have no meaning in a leaf") : pass("X-13", "no name constraints"))
        findings.append(pass("X-14", "a leaf, fit to be a workload's credential"))
        findings.append(chainOrder())
        findings.append(leafPath("X-16"))
        return findings
    }

    func authorityFindings() -> [SVIDLint.Finding] {
        var findings = [authorityName(), otherNames()]
        findings.append(
            check(
                "X-3", !certificate.subject.isEmpty, "the subject is not empty",
                "the subject is empty; a CA needs one (RFC 5280 section 4.1.2.6)"))
        if case .success(let id) = identity {
            findings.append(
                check(
                    "X-4", id.path.isEmpty, "the ID has no path",
                    "the ID \(id) has a path; a signing certificate's has none"))
            findings.append(pass("X-5", "signs for trust domain \(id.trustDomain)"))
        } else {
            findings.append(warn("X-5", "without an ID, it does not say for which trust domain it signs"))
        }
        findings.append(authorityConstraints())
        findings.append(keyUsagePresence())
        findings.append(
            usage?.digitalSignature == true
                ? warn("X-8", "key usage has digitalSignature, which is for leaves")
                : pass("X-8", "no digitalSignature"))
        findings.append(
            check("X-10", usage?.keyCertSign == true, "key usage has keyCertSign", "key usage lacks keyCertSign"))
        findings.append(
            pass(
                "X-11", usage?.cRLSign == true ? "key usage has cRLSign, which it may" : "no cRLSign, which is optional"
            ))
        findings.append(
            has(.X509ExtensionID.extendedKeyUsage)
                ? warn("X-12", "extended key usage in a CA: many verifiers let it limit every leaf below")
                : pass("X-12", "no extended key usage"))
        findings.append(
            has(.X509ExtensionID.nameConstraints)
                ? warn("X-13", "name constraints: many verifiers support them badly")
                : pass("X-13", "no name constraints"))
        findings.append(pass("X-14", "a CA: never to be used as a workload's credential"))
        findings.append(chainOrder())
        return findings
    }

    private func authorityName() -> SVIDLint.Finding {
        switch identity {
        case .success(let id): pass("X-1", "one URI name: \(id)")
        case .failure(.severalURINames(let count)): fail("X-1", "\(CertificateIdentityError.severalURINames(count))")
        // Roots made by others often have no ID, or one with a final slash as in the standard's own example.
        case .failure(let error): warn("X-1", "a signing certificate should carry its trust domain's ID: \(error)")
        }
    }

    private func otherNames() -> SVIDLint.Finding {
        let names = (try? certificate.extensions.subjectAlternativeNames) ?? .init()
        let others = names.filter { name in
            if case .uniformResourceIdentifier = name { false } else { true }
        }
        return pass("X-2", others.isEmpty ? "no other names" : "\(others.count) other names, ignored for the identity")
    }

    private func criticalNames() -> SVIDLint.Finding {
        guard certificate.subject.isEmpty else { return pass("X-3", "the subject is not empty") }
        return check(
            "X-3", isCritical(.X509ExtensionID.subjectAlternativeName), "no subject, alternative names critical",
            "without a subject the alternative names must be critical (RFC 5280 section 4.2.1.6)")
    }

    private func leafPath(_ rule: String) -> SVIDLint.Finding {
        guard case .success(let id) = identity else { return fail(rule, "no ID whose path could be checked") }
        return check(rule, !id.path.isEmpty, "the ID has a path", "the ID \(id) has no path: it names a trust domain")
    }

    private func trustDomainAmongIssuers(_ id: SPIFFEID) -> SVIDLint.Finding {
        let foreign = issuers.compactMap { try? $0.spiffeID() }.first { $0.trustDomain != id.trustDomain }
        guard let foreign else { return pass("X-5", "trust domain \(id.trustDomain)") }
        return warn(
            "X-5",
            "a signing certificate of trust domain \(foreign.trustDomain) stands above a leaf of \(id.trustDomain)")
    }

    private func keyUsagePresence() -> SVIDLint.Finding {
        guard usage != nil else { return fail("X-7", "key usage is missing or cannot be read") }
        return check(
            "X-7", isCritical(.X509ExtensionID.keyUsage), "key usage is critical", "key usage is not critical")
    }

    private func keyTransport() -> SVIDLint.Finding {
        let names = [("keyEncipherment", usage?.keyEncipherment), ("keyAgreement", usage?.keyAgreement)]
            .filter { $0.1 == true }.map(\.0)
        return pass(
            "X-9", names.isEmpty ? "neither keyEncipherment nor keyAgreement" : names.joined(separator: " and "))
    }

    private func leafPurposes() -> SVIDLint.Finding {
        guard has(.X509ExtensionID.extendedKeyUsage) else {
            return warn("X-12", "no extended key usage; a leaf should have serverAuth and clientAuth")
        }
        return check(
            "X-12", purposes.map { $0.contains(.serverAuth) && $0.contains(.clientAuth) } ?? false,
            "extended key usage has serverAuth and clientAuth",
            "extended key usage must have both serverAuth and clientAuth")
    }

    private func authorityConstraints() -> SVIDLint.Finding {
        guard case .isCertificateAuthority(let length)? = constraints else {
            return fail("X-6", "basicConstraints does not say cA true")
        }
        return pass("X-6", length.map { "a CA with path length \($0)" } ?? "a CA without a path length")
    }

    private func chainOrder() -> SVIDLint.Finding {
        guard let next = issuers.first else { return pass("X-15", "no certificates after it") }
        return check(
            "X-15", next.publicKey.isValidSignature(certificate.signature, for: certificate),
            "followed by its issuer", "the next certificate did not sign it; a chain is leaf first, then each issuer")
    }
}
