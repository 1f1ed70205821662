import Glibc
import LinuxNetworking
import Testing

@Suite("Child processes")
struct ChildProcessTests {
    private func shell(_ script: String, input: String = "", timeout: Duration = .seconds(10)) throws
        -> ChildProcess.Output
    {
        try ChildProcess.run("/bin/sh", ["-c", script], input: input, timeout: timeout)
    }

    @Test("input, outputs and status pass, large ones too")
    func passing() throws {
        let large = String(repeating: "0123456789", count: 30_000)
        let result = try shell("cat; echo trouble >&2; exit 3", input: large)
        #expect(result.output == large)
        #expect(result.errors == "trouble\n")
        #expect(result.status == 3)
    }

    @Test("nothing of our environment is inherited, and no descriptor beyond the three")
    func clean() throws {
        setenv("CULVERT_TEST_SECRET", "1", 1)
        let result = try shell("env; ls /proc/self/fd")
        #expect(!result.output.contains("CULVERT_TEST_SECRET"))
        // The fourth is the directory that ls reads.
        #expect(result.output.hasSuffix("0\n1\n2\n3\n"))
    }

    @Test("a program that does not end is killed at its deadline")
    func deadline() throws {
        #expect { _ = try shell("exec sleep 3600", timeout: .milliseconds(50)) } throws: {
            ($0 as? Errno)?.code == ETIMEDOUT
        }
    }

    @Test("a signal is told from an exit, and a missing program from both")
    func endings() throws {
        #expect(try shell("kill -TERM $$").status == 128 + SIGTERM)
        #expect { _ = try ChildProcess.run("/nonexistent", [], timeout: .seconds(1)) } throws: {
            ($0 as? Errno)?.code == ENOENT
        }
    }
}
