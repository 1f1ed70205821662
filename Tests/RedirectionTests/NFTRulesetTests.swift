import IPAddressing
import Testing

@testable import Redirection

@Suite("nft ruleset")
struct NFTRulesetTests {
    @Test("the default rules, to the letter")
    func text() {
        #expect(
            NFTRuleset.render(RedirectionPlan()) == """
                add table inet culvert
                delete table inet culvert
                table inet culvert {
                    counter inbound_refused { }
                    counter guard_dropped { }
                    chain outbound {
                        type nat hook output priority -100; policy accept;
                        meta l4proto != tcp return
                        tcp flags & (fin | syn | rst | ack) != syn return
                        meta mark & 0xfff == { 0x539, 0x53a } return
                        oifname "lo" return
                        ip daddr 127.0.0.0/8 return
                        ip6 daddr ::1 return
                        meta l4proto tcp redirect to :15001
                    }
                    chain inbound {
                        type filter hook prerouting priority -150; policy accept;
                        iifname "lo" return
                        meta l4proto != tcp return
                        tcp flags & (fin | syn | rst | ack) != syn return
                        tcp dport 15008 return
                        meta l4proto tcp tproxy to :15006 accept
                        counter name inbound_refused
                        meta l4proto tcp reject with tcp reset
                        drop
                    }
                    chain guard {
                        type filter hook postrouting priority 0; policy accept;
                        meta l4proto != tcp return
                        oifname "lo" return
                        meta mark & 0xfff == 0x539 return
                        tcp flags & (fin | syn | rst) == rst return
                        counter name guard_dropped drop
                    }
                }

                """)
    }

    @Test("where the proxy has a cgroup, its mark counts for nothing outside that")
    func claims() {
        var plan = RedirectionPlan()
        let without = NFTRuleset.render(plan).split(separator: "\n")
        plan.proxyCgroup = NFTCgroup(directory: "/sys/fs/cgroup/a/b", path: "a/b", level: 2)
        let added = NFTRuleset.render(plan).split(separator: "\n").difference(from: without)
        #expect(added.removals.isEmpty)
        #expect(
            added.insertions.map { change in
                guard case .insert(_, let line, _) = change else { return "" }
                return String(line)
            } == [
                "    counter claims_refused { }",
                "    chain claims {",
                "        type filter hook output priority -150; policy accept;",
                "        meta l4proto != tcp return",
                "        meta mark & 0xfff != 0x539 return",
                "        socket cgroupv2 level 2 \"a/b\" return",
                "        ct state established return",
                "        tcp flags & (fin | syn | rst) == rst return",
                "        counter name claims_refused",
                "        meta l4proto tcp reject with tcp reset",
                "        drop",
                "    }",
            ])
    }

    @Test(
        "a cgroup has a name for nft only where nft looks",
        arguments: [
            ("/sys/fs/cgroup", "/sys/fs/cgroup/culvert", "culvert", 1),
            ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/a/b c", "unified/a/b c", 2),
            ("/sys/fs/cgroup", "/sys/fs/cgroup", nil, 0), ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/other/a", nil, 0),
            ("/run/cgroup2", "/run/cgroup2/a", nil, 0), ("/sys/fs/cgroup", "/sys/fs/cgroup/../cgroup", nil, 0),
            ("/sys/fs/cgroup", "/sys/fs/cgroup/a\"b", nil, 0), ("/sys/fs/cgroup", "sys/fs/cgroup/a", nil, 0),
        ] as [(String, String, String?, Int)])
    func cgroupPlace(_ root: String, _ directory: String, _ path: String?, _ level: Int) {
        let place = NFTCgroup.place(of: directory, root: root)
        #expect(place?.path == path)
        #expect(place == nil || place?.level == level)
    }

    @Test("excluded ports are let through by the redirection and by the guard, sorted")
    func exclusions() {
        var plan = RedirectionPlan()
        plan.exclusions.outboundPorts = [5432, 25]
        plan.exclusions.inboundPorts = [9100]
        plan.outboundPort = 1
        plan.inboundPort = 2
        plan.tunnelPort = 3
        let lines = NFTRuleset.render(plan).split(separator: "\n").map { $0.drop { $0 == " " } }
        #expect(
            lines.filter { $0.hasPrefix("tcp dport") || $0.hasPrefix("tcp sport") || $0.contains(" to :") } == [
                "tcp dport { 25, 5432 } return",
                "meta l4proto tcp redirect to :1",
                "tcp dport 3 return",
                "tcp dport { 9100 } return",
                "meta l4proto tcp tproxy to :2 accept",
                "tcp dport { 25, 5432 } return",
            ])
        #expect(lines.contains("tcp flags & (syn | ack) != syn tcp sport { 9100 } return"))
    }

    @Test("excluded destinations by family, without those within another")
    func excludedDestinations() throws {
        var plan = RedirectionPlan()
        plan.exclusions.outboundPrefixes = Set(
            try ["10.1.0.0/16", "10.0.0.0/8", "192.0.2.1/32", "fd00::/8"].map { try #require(IPPrefix($0)) })
        let lines = NFTRuleset.render(plan).split(separator: "\n").filter { $0.contains("daddr {") }.map {
            String($0.drop { $0 == " " })
        }
        #expect(lines.count == 4)
        #expect(Set(lines) == ["ip daddr { 10.0.0.0/8, 192.0.2.1/32 } return", "ip6 daddr { fd00::/8 } return"])
    }

    @Test("counters are read from nft's listing, and not from another text")
    func counters() {
        let listing = """
            table inet culvert {
            \tcounter inbound_refused {
            \t\tpackets 3 bytes 180
            \t}
            \tcounter guard_dropped {
            \t\tpackets 12 bytes 900
            \t}
            }
            """
        #expect(RedirectionCounters(listing: listing)?.inboundRefused == 3)
        #expect(RedirectionCounters(listing: listing)?.guardDropped == 12)
        #expect(RedirectionCounters(listing: "") == nil)
        #expect(RedirectionCounters(listing: "counter inbound_refused {\npackets x bytes 1\n}") == nil)
    }
}

@Suite("Redirection record")
struct RedirectionRecordTests {
    private static let record = RedirectionRecord(
        bootID: "5d2f", namespace: "4:4026532001",
        settings: [.init(name: "net/ipv4/tcp_timestamps", value: "1"), .init(name: "net/ipv4/x", value: "a b")],
        exclusions: PodExclusions(inboundPorts: [9100]), isProbed: true, isMarked: true,
        probeSource: .standard, rulesetDigest: "cbf29ce484222325")

    @Test("is a text of lines, and the same when read back")
    func roundTrip() {
        var record = Self.record
        #expect(
            record.text == """
                culvert redirection 1
                boot 5d2f
                namespace 4:4026532001
                sysctl net/ipv4/tcp_timestamps 1
                sysctl net/ipv4/x a b
                excluded inbound:9100
                probed
                probes marked
                probes from 169.254.7.127,fd16:9254:7127:1337:ffff:ffff:ffff:ffff
                ruleset cbf29ce484222325
                end

                """)
        #expect(RedirectionRecord(text: record.text) == record)
        record.rulesetDigest = nil
        #expect(RedirectionRecord(text: record.text) == record)
    }

    @Test("cut anywhere or changed in its structure, it is refused")
    func damaged() {
        let text = Self.record.text
        for count in 0..<text.count { #expect(RedirectionRecord(text: String(text.prefix(count))) == nil) }
        for (old, new) in [
            ("culvert", "other"), ("boot", "root"), ("\nend", "\nsomething\nend"), ("sysctl", "sysctrl"),
        ] {
            #expect(RedirectionRecord(text: replacing(old, by: new, in: text)) == nil)
        }
    }

    private func replacing(_ old: String, by new: String, in text: String) -> String {
        guard let range = text.firstRange(of: old) else { return text }
        return text.replacingCharacters(range, new)
    }

    @Test("digests differ with the text (FNV-1a test vectors)")
    func digest() {
        #expect(RedirectionRecord.digest("") == "cbf29ce484222325")
        #expect(RedirectionRecord.digest("a") == "af63dc4c8601ec8c")
        #expect(RedirectionRecord.digest("foobar") == "85944171f73967e8")
    }
}

extension String {
    fileprivate func replacingCharacters(_ range: Range<Index>, _ new: String) -> String {
        String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
    }
}

@Suite("Redirection errors")
struct RedirectionErrorTests {
    @Test("tell the operator what to do")
    func text() {
        let denied = RedirectionError.nftFailed(status: 1, message: "Error: Operation not permitted")
        #expect(denied.description.hasSuffix("CAP_NET_ADMIN in the pod's network namespace is needed"))
        #expect(
            RedirectionError.nftMissing(searched: ["/sbin/nft"]).description.contains("install the nftables package"))
        #expect(RedirectionError.nftTimedOut(after: .seconds(10)).description.contains("10.0 seconds"))
    }
}
