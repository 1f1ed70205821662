import FoundationEssentials
import SPIFFE
import Synchronization
import Testing

@testable import Dataplane

@Suite("A chain that was verified")
struct VerifiedPeersTests {
    private final class Verification: Sendable {
        let count = Atomic(0)
        let verifier: PeerVerifier

        init(_ trust: TestTrust) throws { verifier = PeerVerifier(bundles: try trust.bundles) }

        var peers: VerifiedPeers {
            VerifiedPeers { [self] chain, now in
                count.add(1, ordering: .relaxed)
                return verifier.verify(chainDER: chain, role: .client, now: now)
            }
        }

        var times: Int { count.load(ordering: .relaxed) }
    }

    @Test("is not verified again, and another one with the same name is")
    func once() throws {
        let trust = try TestTrust()
        let verification = try Verification(trust)
        let peers = verification.peers
        let first = try trust.svid(namespace: "shop", serviceAccount: "a")
        for _ in 0..<5 {
            #expect(try peers.identity(ofChain: first.certificatesDER(), now: Date()).get() == first.id)
        }
        #expect(verification.times == 1)
        let second = try trust.svid(namespace: "shop", serviceAccount: "a")
        #expect(try peers.identity(ofChain: second.certificatesDER(), now: Date()).get() == second.id)
        #expect(verification.times == 2)
    }

    @Test("is refused from the moment it ends, and verified anew when the clock was set back")
    func time() throws {
        let trust = try TestTrust()
        let verification = try Verification(trust)
        let peers = verification.peers
        let chain = try trust.svid(namespace: "shop", serviceAccount: "a").certificatesDER()
        let now = Date()
        _ = try peers.identity(ofChain: chain, now: now).get()
        _ = try peers.identity(ofChain: chain, now: now.addingTimeInterval(3590)).get()
        #expect(verification.times == 1)
        #expect(throws: PeerRefusal.self) {
            try peers.identity(ofChain: chain, now: now.addingTimeInterval(3601)).get()
        }
        // Before its beginning.
        #expect(throws: PeerRefusal.self) {
            try peers.identity(ofChain: chain, now: now.addingTimeInterval(-120)).get()
        }
        #expect(verification.times == 3)
    }

    @Test("with one bit changed, or beside another certificate, is another one; a refusal is not remembered")
    func changed() throws {
        let trust = try TestTrust()
        let verification = try Verification(trust)
        let peers = verification.peers
        let chain = try trust.svid(namespace: "shop", serviceAccount: "a").certificatesDER()
        _ = try peers.identity(ofChain: chain, now: Date()).get()
        var forged = chain
        forged[0][forged[0].count - 1] ^= 1
        for _ in 0..<2 {
            #expect(throws: PeerRefusal.self) { try peers.identity(ofChain: forged, now: Date()).get() }
        }
        #expect(throws: PeerRefusal.self) { try peers.identity(ofChain: [], now: Date()).get() }
        #expect(verification.times == 4)
        let stranger = try TestTrust("other.test").svid(namespace: "shop", serviceAccount: "a").certificatesDER()
        #expect(throws: PeerRefusal.self) { try peers.identity(ofChain: stranger, now: Date()).get() }
    }

    @Test("is forgotten with all others when there are too many")
    func bound() throws {
        let trust = try TestTrust()
        let verification = try Verification(trust)
        let peers = verification.peers
        let chains = try (0...VerifiedPeers.countMax).map { _ in
            try trust.svid(namespace: "shop", serviceAccount: "a").certificatesDER()
        }
        for chain in chains { _ = try peers.identity(ofChain: chain, now: Date()).get() }
        #expect(verification.times == chains.count)
        _ = try peers.identity(ofChain: chains[0], now: Date()).get()
        #expect(verification.times == chains.count + 1)
        _ = try peers.identity(ofChain: chains[chains.count - 1], now: Date()).get()
        #expect(verification.times == chains.count + 1)
    }
}
