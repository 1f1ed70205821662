import Foundation
import PackagePlugin

/// Compiles the programs in `bpf/` with the toolchain's own clang, each into a Swift file that holds the object.
@main
struct CompileBPF: BuildToolPlugin {
    /// By name: the package manager remembers a plugin's answer and would not see a new file.
    private static let programs = ["connect", "guard", "lookup", "probe"]
    private static let headers = ["culvert.h", "policy.h", "probe.h", "segment.h"]

    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let sources = context.package.directoryURL.appending(path: "bpf")
        let script = sources.appending(path: "compile")
        let clang = try context.tool(named: "clang").url
        return Self.programs.map { name in
            let source = sources.appending(path: "\(name).bpf.c")
            let output = context.pluginWorkDirectoryURL.appending(path: "\(name).swift")
            return .buildCommand(
                displayName: "Compiling \(name).bpf.c",
                executable: URL(filePath: "/bin/sh"),
                arguments: [script.path(), clang.path(), source.path(), name, output.path()],
                inputFiles: [script, source] + Self.headers.map { sources.appending(path: $0) },
                outputFiles: [output])
        }
    }
}
