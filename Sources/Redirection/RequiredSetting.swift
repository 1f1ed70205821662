import Glibc
import LinuxNetworking

/// A kernel setting that the redirection needs, of the calling thread's network namespace.
struct RequiredSetting {
    let name: String
    let value: String
    /// Without address translation there is no need of it.
    var isForTranslation = false

    private static let all = [
        // The application's end of a connection takes the mark of its SYN: answers to a client's address go to loopback.
        RequiredSetting(name: "net/ipv4/tcp_fwmark_accept", value: "1"),
        // So do refusals of a closed port: without it the proxy would wait for them until its timeout.
        RequiredSetting(name: "net/ipv4/fwmark_reflect", value: "1"),
        RequiredSetting(name: "net/ipv6/fwmark_reflect", value: "1"),
        // Redirection folds many destinations into one 4-tuple. With an offset per tuple, timestamps of one look old to
        // another, and SYNs are dropped for a minute; 2 is timestamps without offsets.
        RequiredSetting(name: "net/ipv4/tcp_timestamps", value: "2", isForTranslation: true),
    ]

    /// As an operator knows them, whatever the family.
    static var names: String {
        var names: [Substring] = []
        for name in all.compactMap({ $0.name.split(separator: "/").last }) where !names.contains(name) {
            names.append(name)
        }
        return names.joined(separator: ", ")
    }

    /// Those that the kernel has: not those of IPv6 where that is switched off.
    static func present() throws(RedirectionError) -> [RequiredSetting] {
        var found: [RequiredSetting] = []
        for setting in all {
            do throws(Errno) {
                _ = try Sysctl.read(setting.name)
                found.append(setting)
            } catch  where error.code == ENOENT {
                continue
            } catch {
                throw .kernel(error)
            }
        }
        return found
    }
}
