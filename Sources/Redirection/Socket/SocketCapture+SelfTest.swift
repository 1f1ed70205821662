import Glibc
import IPAddressing
import LinuxNetworking

extension SocketCapture {
    /// Captures one connection in a network namespace made for it, and leaves nothing behind.
    ///
    /// A program that loads and attaches may still not do what it should: under another program of the same kind, say, or on a kernel
    /// that numbers interfaces in another way.
    public func selfTest(stateDirectory: String, pinDirectory: String) throws(RedirectionError) {
        let namespace = try kernelCall { () throws(Errno) in try NetworkNamespace.make() }
        try namespace.entered { () throws(RedirectionError) in
            try kernelCall { () throws(Errno) in
                let routes = try RouteSocket()
                try routes.setUp("lo")
                try routes.addAddress(IPAddress(v4: 0x0aff_ffff), prefixLength: 32, to: "lo")
            }
        }
        let redirection = try PodRedirection(
            pod: "self-test", namespace: namespace, stateDirectory: stateDirectory, capture: self,
            pinDirectory: pinDirectory)
        let result = Result { () throws(RedirectionError) in
            try redirection.install()
            try namespace.entered { () throws(RedirectionError) in try Self.connect(pinDirectory) }
        }
        try redirection.remove()
        try result.get()
    }

    /// As an application, and as the proxy.
    private static func connect(_ pinDirectory: String) throws(RedirectionError) {
        let destination = SocketAddress(IPAddress(v4: 0xc000_0201), port: 9)
        let seen = try kernelCall { () throws(Errno) in
            let listener = try TCPSocket.listen(
                on: SocketAddress(.loopback(.v4), port: RedirectionPlan().outboundPort), dualStack: false,
                options: .init(transparent: true, mark: RedirectionPlan.loopMark))
            _ = try ListenerMap.put(
                listener.raw, at: listenerMap(ofPod: "self-test", directory: pinDirectory), slot: 0)
            let client = try TCPSocket.connect(to: destination)
            var waiting = pollfd(fd: listener.raw, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 2_000) == 1, let accepted = try TCPSocket.accept(listener.raw) else {
                return SocketAddress?.none
            }
            _ = client.raw
            return TCPSocket.localAddress(accepted.raw)
        }
        guard seen == destination else {
            throw .selfTestFailed(
                "a connection to \(destination) " + (seen.map { "was taken for one to \($0)" } ?? "was not captured"))
        }
    }
}
