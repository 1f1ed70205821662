import Foundation
import Testing

@Suite("The house keeps its arrows")
struct PackageGraphTests {
    private static let sources = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources")
    /// The standard library's, the C library's, and the compiler's own.
    private static let system: Set<String> = ["Swift", "Glibc", "Synchronization", "_Concurrency"]

    @Test("a module imports what the table allows, and nothing else", arguments: modules.map(\.name))
    func imports(name: String) throws {
        let module = try #require(modules.first { $0.name == name })
        let allowed = module.ours.union(module.packages).union(Self.system)
        for (file, imported) in try Self.imports(of: name)
        where imported != "Foundation" && imported != "FoundationEssentials" {
            #expect(allowed.contains(imported), "\(file) imports \(imported)")
        }
    }

    @Test("Foundation stays out of where it does not belong", arguments: modules.map(\.name))
    func foundation(name: String) throws {
        let module = try #require(modules.first { $0.name == name })
        for (file, imported) in try Self.imports(of: name) {
            switch module.foundation {
            case .none:
                #expect(imported != "Foundation" && imported != "FoundationEssentials", "\(file) imports \(imported)")
            case .essentials: #expect(imported != "Foundation", "\(file) imports Foundation: 60 MB of binary")
            case .whole: break
            }
        }
    }

    @Test("every directory of sources is a module of the table")
    func complete() throws {
        let known = Set(modules.map(\.name)).union([
            "culvert", "culvert-cni", "CLinux", "COpenSSL", "CNGHTTP2", "CPostgreSQL", "CLibBPF",
        ])
        let found = try FileManager.default.contentsOfDirectory(atPath: Self.sources.path)
        #expect(Set(found).subtracting(known).isEmpty)
    }

    @Test("arrows point down only")
    func acyclic() {
        for (index, module) in modules.enumerated() {
            let below = Set(modules[..<index].map(\.name)).union([
                "CLinux", "COpenSSL", "CNGHTTP2", "CPostgreSQL", "CLibBPF",
            ])
            #expect(module.ours.subtracting(below).isEmpty, "\(module.name)")
        }
    }

    @Test("a forbidden arrow is in no table and in no file")
    func forbiddenArrows() throws {
        for arrow in forbidden {
            let module = try #require(modules.first { $0.name == arrow.from })
            #expect(!module.ours.contains(arrow.to), "\(arrow.from) → \(arrow.to): \(arrow.because)")
            let imported = try Self.imports(of: arrow.from).map(\.module)
            #expect(!imported.contains(arrow.to), "\(arrow.from) → \(arrow.to): \(arrow.because)")
        }
    }

    /// Every import of the module's files, generated ones included.
    private static func imports(of module: String) throws -> [(file: String, module: String)] {
        let directory = sources.appending(path: module)
        let files = FileManager.default.enumerator(at: directory, includingPropertiesForKeys: nil)
        let urls = (files?.allObjects ?? []).compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
        try #require(!urls.isEmpty, "\(module) has no sources")
        return try urls.flatMap { url in
            try String(contentsOf: url, encoding: .utf8).split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ").filter { !$0.hasPrefix("@") }
                guard let keyword = words.firstIndex(of: "import"), words[..<keyword].allSatisfy(isAccessLevel),
                    let name = words[(keyword + 1)...].first(where: { !kinds.contains(String($0)) })
                else { return nil }
                let root = name.split(separator: ".").first.map(String.init) ?? String(name)
                return (url.lastPathComponent, root)
            }
        }
    }

    private static let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]

    private static func isAccessLevel(_ word: Substring) -> Bool {
        ["public", "package", "internal", "fileprivate", "private"].contains(word)
    }
}
