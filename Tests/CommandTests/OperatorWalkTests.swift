import ArgumentParser
import Glibc
import Testing

@testable import culvert

/// Every `culvert ca` and `culvert node` command, as whoever is woken by the pager meets it.
@Suite("The commands of the authority's operator", .timeLimit(.minutes(2)))
struct OperatorWalkTests {
    /// With its words, commands within commands included.
    private static func commands(_ command: any ParsableCommand.Type, _ words: String) -> [(
        words: String, help: String
    )] {
        let inner = command.configuration.subcommands
        guard !inner.isEmpty else { return [(words, command.configuration.discussion)] }
        return inner.flatMap { commands($0, "\(words) \($0.configuration.commandName ?? "")") }
    }

    private static let all = commands(CA.self, "ca") + commands(NodeCommand.self, "node")

    @Test("each has examples of itself and says what its exit status means")
    func help() throws {
        #expect(Self.all.count == 19)
        for (words, help) in Self.all {
            #expect(help.contains("EXAMPLES\n"), "\(words)")
            #expect(help.contains("culvert \(words)"), "\(words)")
            #expect(help.contains("EXIT STATUS\n") && help.contains("  0   ") && help.contains("  64  "), "\(words)")
        }
    }

    /// Arguments with which each does nothing but ask a running authority.
    private static let asking = [
        "ca status", "ca doctor", "ca bundle", "ca prepare", "ca activate", "ca taint", "ca revoke", "ca abort",
        "ca rotate",
        "ca rotate --dry-run", "ca token create --node a",
        "ca mint spiffe://td.test/x --cert $d/c --key $d/k --reason r",
        "node list", "node show a", "node ban a --reason r", "node unban a --reason r", "node evict a --reason r",
    ]

    /// What all of `asking` say, each different text once, and how often each exit status came.
    private func answers(_ setUp: String) throws -> String {
        try Transcript.run(
            """
            d=$(mktemp -d); \(setUp)
            said() { sed "s,$d,DIR," "$d/out" | sort | uniq -c | sed 's/^ *//'; sort "$d/codes" | uniq -c | sed 's/^ */exits: /'; }
            try() { timeout 30 $as culvert "$@" --admin-socket $d/run/ca.sock >>$d/out 2>&1 </dev/null; echo $? >>$d/codes; }
            \(Self.asking.map { "try \($0)" }.joined(separator: "\n"))
            said; rm -r $d
            """)
    }

    @Test("say in one line why nobody answers, and in another what to do", .enabled(if: Transcript.binary != nil))
    func nobody() throws {
        let count = Self.asking.count
        let codes = "exits: \(count - 1) 1\nexits: 1 2\nexit 0\n"
        func said(_ reason: String) -> String {
            """
            \(count) error: no authority answers on DIR/run/ca.sock: \(reason)
            \(count) hint: is `culvert ca serve` running? Name its socket with --admin-socket
            \(codes)
            """
        }
        #expect(try answers("mkdir $d/run") == said("No such file or directory"))
        #expect(try answers("mkdir $d/run; touch $d/run/ca.sock") == said("that is no socket"))
        let stale = """
            mkdir $d/run; python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' $d/run/ca.sock
            """
        #expect(try answers(stale) == said("nobody listens there any more"))
    }

    @Test(
        "say that it is this user who may not", .enabled(if: Transcript.binary != nil),
        .enabled(if: geteuid() == 0, "only root can become somebody else"),
        arguments: ["700 $d/run", "600 $d/run/ca.sock"])
    func notAllowed(_ mode: String) throws {
        let count = Self.asking.count
        let output = try answers(
            """
            mkdir $d/run; python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' $d/run/ca.sock
            chmod 755 $d $d/run; chmod \(mode); as='setpriv --reuid 65534 --regid 65534 --clear-groups --'
            """)
        #expect(
            output == """
                \(count) error: DIR/run/ca.sock may not be opened by this user
                \(count) hint: run as the user that runs the authority, or as root
                exits: \(count - 1) 1
                exits: 1 2
                exit 0

                """)
    }
}
