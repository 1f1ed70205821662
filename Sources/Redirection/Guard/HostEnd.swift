import LinuxNetworking

/// The host's end of a pod's veth.
struct HostEnd: Hashable {
    /// In the host's namespace.
    let interface: UInt32

    /// Of every veth in `pod` whose other end is in `host`, in the order of their indexes there.
    ///
    /// Throws `noHostEnd` when there is none. An index alone proves nothing, as namespaces have the same ones: the far end has to
    /// name the near one, and the namespace it is in.
    static func all(of pod: NetworkNamespace, in host: NetworkNamespace) throws(RedirectionError) -> [HostEnd] {
        let near = try pod.entered { () throws(RedirectionError) in try kernelCall { () throws(Errno) in try links() } }
        let (far, number) = try host.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                (try links(), pod.isSame(as: host) ? nil : try RouteSocket().namespaceID(of: pod))
            }
        }
        let ends = far.filter { end in
            end.kind == "veth" && end.peerNamespace == number
                && near.contains { $0.kind == "veth" && $0.index == end.peer && $0.peer == end.index }
        }
        guard !ends.isEmpty else {
            throw .noHostEnd(near.filter { $0.name != "lo" && $0.isUp }.map { "\($0.name) (\($0.kind ?? "physical"))" })
        }
        return ends.map { HostEnd(interface: $0.index) }.sorted { $0.interface < $1.interface }
    }

    private static func links() throws(Errno) -> [InstalledLink] { try RouteSocket().links() }
}

extension NetworkNamespace {
    /// Runs `body` inside, with its errors as they are.
    func entered<R>(_ body: () throws(RedirectionError) -> R) throws(RedirectionError) -> R {
        var result: Result<R, RedirectionError>?
        do {
            try run { result = Result(catching: body) }
        } catch let error as Errno {
            throw .kernel(error)
        } catch {
            preconditionFailure("entering a namespace throws Errno only")
        }
        return try result!.get()
    }
}

func kernelCall<R>(_ body: () throws(Errno) -> R) throws(RedirectionError) -> R {
    do throws(Errno) {
        return try body()
    } catch {
        throw .kernel(error)
    }
}
