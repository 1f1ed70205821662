import Glibc
import Testing

@testable import culvert

@Suite("What a demo leaves behind")
struct LeftoverTests {
    @Test("a process is known by its number and its start, not by its number alone")
    func stamp() throws {
        let own = try #require(ProcessStamp(running: getpid()))
        #expect(own.isRunning)
        #expect(ProcessStamp(own.description) == own)
        #expect(!ProcessStamp(pid: own.pid, startTime: own.startTime + 1).isRunning)
    }

    @Test("the start time is found behind any process name")
    func startTime() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 21"
        for name in ["culvert", "a b", ") S 1 (", ""] {
            #expect(ProcessStamp.startTime(stat: "42 (\(name)) \(fields)\n") == 987654)
        }
        #expect(ProcessStamp.startTime(stat: "") == nil)
        #expect(ProcessStamp.startTime(stat: "42 (culvert) S 1 2") == nil)
    }

    @Test(
        "a state file that was cut off or forged kills nobody",
        arguments: ["", "12", "12 x", "-1 5", "0 5", "1 5", "1 2 3"])
    func forged(line: String) {
        #expect(ProcessStamp(line) == nil)
    }

    @Test("the run directory is one demo's at a time, and free again after it")
    func lock() throws {
        let path = "/tmp/cvt-demo-\(getpid())-lock"
        do {
            let first = try RunDirectory(path: path)
            #expect(throws: DemoError.self) { _ = try RunDirectory(path: path) }
            try TextFile.write(first.file("mesh.yaml"), "x")
            _ = try first.makeDirectory("logs")
            try DirectoryTree.empty(path)
            first.remove()
        }
        #expect(!TextFile.exists(path))
        let second = try RunDirectory(path: path)
        second.remove()
    }

    @Test("emptying a directory does not follow links out of it")
    func links() throws {
        let path = "/tmp/cvt-demo-\(getpid())-links"
        mkdir(path, 0o700)
        mkdir("\(path)/outside", 0o700)
        mkdir("\(path)/inside", 0o700)
        try TextFile.write("\(path)/outside/kept", "x")
        symlink("\(path)/outside", "\(path)/inside/link")
        try DirectoryTree.empty("\(path)/inside")
        #expect(DirectoryTree.entries("\(path)/inside") == [])
        #expect(TextFile.exists("\(path)/outside/kept"))
        try DirectoryTree.empty(path)
        rmdir(path)
    }
}
