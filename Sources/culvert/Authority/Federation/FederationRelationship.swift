import MeshAPI
import SPIFFE

/// Another trust domain whose workloads are believed, and where its bundle is found: `--federate` of `culvert ca serve`.
///
/// The domain's name is the operator's word, never the URL's or the document's.
struct FederationRelationship: Sendable {
    enum Profile: Sendable, Equatable {
        /// `roots`: a PEM file; nil: the system's.
        case web(roots: String?)
        /// `bundle`: a file by which the endpoint is recognised the first time.
        case spiffe(SPIFFEID, bundle: String)
    }

    let trustDomain: TrustDomain
    let url: HTTPSURL
    let profile: Profile

    /// `DOMAIN=URL`, then perhaps `,roots=FILE`, or `,id=SPIFFE-ID,bundle=FILE`.
    init(_ text: String) throws(CommandFailure) {
        func failure(_ problem: String) -> CommandFailure {
            CommandFailure(
                "--federate “\(text)”: \(problem)",
                hint: "write DOMAIN=https://HOST[:PORT]/, then ,id=SPIFFE-ID,bundle=FILE if the server shows an SVID")
        }
        var parts = text.split(separator: ",", omittingEmptySubsequences: false)
        let relation = parts.removeFirst().split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard relation.count == 2 else { throw failure("it names no domain") }
        do { trustDomain = try TrustDomain(String(relation[0])) } catch { throw failure("\(error)") }
        guard let url = HTTPSURL(String(relation[1])) else { throw failure("“\(relation[1])” is no https URL") }
        self.url = url
        var options: [String: String] = [:]
        for part in parts {
            let option = part.split(separator: "=", maxSplits: 1)
            guard option.count == 2, ["roots", "id", "bundle"].contains(option[0]) else {
                throw failure("“\(part)” is none of roots=, id= and bundle=")
            }
            guard options.updateValue(String(option[1]), forKey: String(option[0])) == nil else {
                throw failure("\(option[0])= is there twice")
            }
        }
        switch (options["id"], options["bundle"], options["roots"]) {
        case (nil, nil, let roots): profile = .web(roots: roots)
        case (let id?, let bundle?, nil):
            do { profile = .spiffe(try SPIFFEID(id), bundle: bundle) } catch { throw failure("id: \(error)") }
        case (_, _, nil): throw failure("id= and bundle= belong together")
        default: throw failure("roots= is for a server that shows no SVID")
        }
    }
}
