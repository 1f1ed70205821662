import Glibc
import MeshFile
import Testing

@Suite("Mesh file watcher", .timeLimit(.minutes(1)))
struct MeshFileWatcherTests {
    private let valid = MeshFileErrorTests.valid

    @Test("gives the file at once, then every change: written in place, renamed over, broken, mended, gone")
    func changes() async throws {
        let file = try TemporaryFile()
        file.write(valid.utf8)
        var meshes = MeshFileWatcher(path: file.path, interval: .milliseconds(10)).makeAsyncIterator()
        #expect(try await meshes.next()?.get().pods.count == 2)

        file.write(valid.replacing("db-1", with: "db-2").utf8)
        #expect(try await meshes.next()?.get().pods.last?.name == "db-2")

        file.replace(valid.replacing("db-1", with: "db-3"))
        #expect(try await meshes.next()?.get().pods.last?.name == "db-3")

        file.replace(valid.replacing("trustDomain: culvert.demo", with: "trustDomain: 5"))
        #expect(await meshes.next()?.problems?.first?.line == 1)

        file.replace(valid)
        #expect(try await meshes.next()?.get().pods.last?.name == "db-1")

        unlink(file.path)
        #expect(await meshes.next()?.problems?.first?.line == 0)
    }

    @Test("passes over a change that leaves the contents equal")
    func equalContents() async throws {
        let file = try TemporaryFile()
        file.write(valid.utf8)
        var meshes = MeshFileWatcher(path: file.path, interval: .milliseconds(10)).makeAsyncIterator()
        _ = await meshes.next()
        file.replace(valid + "# a comment\n")
        try await Task.sleep(for: .milliseconds(100))
        file.replace(valid.replacing("db-1", with: "db-2"))
        #expect(try await meshes.next()?.get().pods.last?.name == "db-2")
    }

    @Test("ends when its task is cancelled")
    func cancellation() async throws {
        let file = try TemporaryFile()
        let task = Task { [path = file.path] in
            var count = 0
            for await _ in MeshFileWatcher(path: path, interval: .milliseconds(10)) { count += 1 }
            return count
        }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        // The missing file is said once, not at every look.
        #expect(await task.value == 1)
    }
}

extension Result<MeshFile, MeshFileError> {
    fileprivate var problems: [MeshFileError.Problem]? {
        guard case .failure(let error) = self else { return nil }
        return error.problems
    }
}
