import ArgumentParser
import Authority
import FoundationEssentials
import Glibc
import IPAddressing
import KubernetesAPI
import MeshFile
import PostgreSQL
import SPIFFE

extension CAServe {
    /// `EX_CONFIG` of sysexits.h.
    private static let misconfigured = ExitCode(78)

    /// For `--check`: prints every problem, each with what to do.
    func reportProblems() async throws {
        let problems = await problems(now: Date())
        guard !problems.isEmpty else { return print("nothing is wrong") }
        for problem in problems {
            StandardError.write("error: \(problem.description)\n" + (problem.hint.map { "hint: \($0)\n" } ?? ""))
        }
        StandardError.write("\(problems.count) \(problems.count == 1 ? "problem" : "problems")\n")
        throw Self.misconfigured
    }

    private func problems(now: Date) async -> [AuthorityPreflight.Problem] {
        var problems = addressProblems()
        problems += lifetimes.flaws.map { .init("\($0)") }
        let (domain, flaw) = meshDomain()
        if let flaw { problems.append(flaw) }
        // What is there is looked at all the same, as far as it does not depend on the trust domain.
        if let domain = domain ?? trustDomain.flatMap({ try? TrustDomain($0) }) {
            problems += await storeProblems(domain, now: now)
        }
        if let domain { problems += pluginProblems(domain, now: now) }
        problems += await clusterProblems()
        return problems + federationProblems() + socketProblems()
    }

    private func meshDomain() -> (TrustDomain?, AuthorityPreflight.Problem?) {
        do throws(CommandFailure) {
            return (try domain(), nil)
        } catch {
            return (nil, .init(error.description, hint: error.hint))
        }
    }

    private func pluginProblems(_ domain: TrustDomain, now: Date) -> [AuthorityPreflight.Problem] {
        guard let caDir else { return [] }
        do throws(PluginFlaw) {
            let files = try PluginDirectory(path: caDir, revocations: crl).read()
            _ = try PluginAuthority.validated(files, trustDomain: domain, leafLifetime: lifetimes.leaf, now: now)
            return []
        } catch {
            return [.init("--ca-dir \(caDir): \(error)", hint: error.hint)]
        }
    }

    private func addressProblems() -> [AuthorityPreflight.Problem] {
        var problems: [AuthorityPreflight.Problem] = []
        var taken: [(option: String, address: SocketAddress)] = []
        let given =
            [("--listen", listen), ("--attest-listen", attestListen)]
            + (healthListen.map { [("--health-listen", $0)] } ?? [])
            + (federationListen.map { [("--federation-listen", $0)] } ?? [])
        for (option, text) in given {
            do throws(CommandFailure) {
                let address = try address(text, option)
                if let other = taken.first(where: { $0.address == address && address.port != 0 }) {
                    problems.append(
                        .init("\(option) and \(other.option) are both \(address)", hint: "each needs a port of its own")
                    )
                }
                taken.append((option, address))
            } catch {
                problems.append(.init(error.description, hint: error.hint))
            }
        }
        return problems
    }

    private func storeProblems(_ domain: TrustDomain, now: Date) async -> [AuthorityPreflight.Problem] {
        let database: PostgreSQLAddress?
        do throws(CommandFailure) { database = try storing.address() } catch {
            return [.init(error.description, hint: error.hint)]
        }
        guard let database else { return AuthorityPreflight.problems(inDirectory: data, of: domain, now: now) }
        return await AuthorityPreflight.problems(inDirectory: data, sharing: database, of: domain, now: now)
    }

    private func clusterProblems() async -> [AuthorityPreflight.Problem] {
        guard cluster.kubernetes else { return [] }
        let client: KubernetesClient
        do throws(CommandFailure) { client = try cluster.access.client(connectTimeout: .seconds(5)) } catch {
            return [.init(error.description, hint: error.hint)]
        }
        return await ClusterPreflight(client: client, bundle: cluster.bundleConfigMap).problems()
    }

    private func federationProblems() -> [AuthorityPreflight.Problem] {
        var problems: [AuthorityPreflight.Problem] = []
        do throws(CommandFailure) {
            for name in servingName { _ = try Self.name(name) }
            for text in adminID { _ = try AdminAuthorization.id(text, of: domain()) }
            for relationship in federate { _ = try FederationRelationship(relationship) }
        } catch {
            problems.append(.init(error.description, hint: error.hint))
        }
        return problems
    }

    private func socketProblems() -> [AuthorityPreflight.Problem] {
        do throws(CommandFailure) {
            try AdminSocket.check(adminSocket)
            return []
        } catch {
            return [.init(error.description, hint: error.hint)]
        }
    }
}
