import Glibc
import IPAddressing
import LinuxNetworking

extension PodRedirection {
    /// In the order they are taken; each may be repeated, and all before a step are done when it begins.
    enum Removal: String, CaseIterable, Codable {
        /// From now on the pod's new connections are its own.
        case outbound
        /// From now on new connections to the pod reach the application.
        case inbound
        /// What still goes through the proxy ends: without what follows its bytes would leave in plaintext.
        case connections
        case rules
        case routing
        case settings
        case record

        /// After these, connections through the proxy go on as before.
        static let release = [Removal.outbound, .inbound]
    }

    /// New connections pass the proxy by; those through it go on until `remove`.
    public func release() throws(RedirectionError) {
        for step in Removal.release { try perform(step) }
    }

    /// Leaves the namespace as it was before `install`; connections through the proxy that are left are reset.
    public func remove() throws(RedirectionError) {
        for step in Removal.allCases { try perform(step) }
    }

    func perform(_ step: Removal) throws(RedirectionError) {
        try inside { () throws(RedirectionError) in
            switch step {
            case .outbound:
                try releaseSockets(.outbound)
                try releaseRules()
            case .inbound:
                try releaseSockets(.inbound)
                try capture?.forget(pod: pod)
                try releaseMarker()
            case .connections: try endProxied()
            case .rules: try removeRules()
            case .routing: try removeRouting()
            case .settings: try restoreSettings()
            case .record:
                // Another namespace's is not ours to remove.
                if try record() != nil { try file.remove() }
            }
        }
    }

    func releaseSockets(_ direction: SocketCapture.Direction) throws(RedirectionError) {
        guard let pinDirectory, SocketCapture.isCaptured(pod: pod, directory: pinDirectory) else { return }
        try SocketCapture.release(direction, pod: pod, directory: pinDirectory)
    }

    func releaseMarker() throws(RedirectionError) {
        if let pinDirectory { try ProbeMarker.release(pod: pod, directory: pinDirectory) }
    }

    /// Both directions at once: one transaction.
    private func releaseRules() throws(RedirectionError) {
        try withoutNFT { (nft) throws(RedirectionError) in
            guard try nft.listing() != nil else { return }
            try endAbandoned()
            try nft.apply(NFTRuleset.released)
        }
    }

    /// Connections whose proxy's end is long gone, while the application has not closed its own: nothing tells them from others later,
    /// and what the application might still write would leave untranslated.
    private func endAbandoned() throws(RedirectionError) {
        try kernel { () throws(Errno) in
            let own = Set(try RouteSocket().addresses().map(\.address))
            let served = try redirected()
            try SocketDiagnostics.destroyTCP { socket in
                let mark = socket.mark & RedirectionPlan.markMask
                return socket.state == PodRedirection.closeWait && !served.contains(socket.local)
                    && mark != RedirectionPlan.proxyMark && mark != RedirectionPlan.loopMark
                    && !socket.remote.ip.isLoopback && !own.contains(socket.remote.ip)
            }
        }
    }

    /// As in the kernel's tcp_states.h.
    private static let closeWait: UInt8 = 8

    func removeRules() throws(RedirectionError) {
        try withoutNFT { (nft) throws(RedirectionError) in try nft.apply(NFTRuleset.removal + "\n") }
    }

    /// A machine without nft has no rules of ours.
    private func withoutNFT(_ body: (NFTCommand) throws(RedirectionError) -> Void) throws(RedirectionError) {
        do throws(RedirectionError) {
            try body(try nft())
        } catch .nftMissing where capture != nil {
            return
        }
    }

    private func removeRouting() throws(RedirectionError) {
        try kernel { () throws(Errno) in
            let routes = try RouteSocket()
            for family in [IPAddress.Family.v4, .v6] {
                do throws(Errno) {
                    try routes.deleteRule(loopRule(family))
                    try routes.deleteLocalRoute(family, table: RedirectionPlan.loopTable)
                } catch  where [EAFNOSUPPORT, EOPNOTSUPP].contains(error.code) {
                    // A kernel without IPv6 has nothing of ours there.
                    continue
                }
            }
        }
    }

    private func restoreSettings() throws(RedirectionError) {
        for setting in try record()?.settings ?? [] {
            try kernel { () throws(Errno) in
                if try Sysctl.read(setting.name) != setting.value { try Sysctl.write(setting.name, setting.value) }
            }
        }
    }

    // MARK: - Connections through the proxy

    /// The proxy's ends of connections, and its tunnels: what a drain waits for.
    public func proxiedConnections() throws(RedirectionError) -> Int {
        try inside { () throws(RedirectionError) in
            try kernel { () throws(Errno) in
                let own = Set(try RouteSocket().addresses().map(\.address))
                return try SocketDiagnostics.connectedTCP().count { isProxys($0, own) }
            }
        }
    }

    private func isProxys(_ socket: SocketDiagnostics.TCPSocketEntry, _ own: Set<IPAddress>) -> Bool {
        let mark = socket.mark & RedirectionPlan.markMask
        // The application's end has the mark of what is led to loopback, too, but an address of the pod.
        return mark == RedirectionPlan.proxyMark
            || (mark == RedirectionPlan.loopMark && !own.contains(socket.local.ip) && !socket.local.ip.isLoopback)
    }

    /// The application's ends of redirected connections, which have no mark: they are where the proxy's ends say their peers are.
    private func redirected() throws(Errno) -> Set<SocketAddress> {
        Set(try SocketDiagnostics.connectedTCP().filter { $0.local.port == plan.outboundPort }.map(\.remote))
    }

    /// Both ends of what the proxy carries.
    private func endProxied() throws(RedirectionError) {
        try kernel { () throws(Errno) in
            let redirected = try redirected()
            try SocketDiagnostics.destroyTCP { socket in
                let mark = socket.mark & RedirectionPlan.markMask
                return mark == RedirectionPlan.proxyMark || mark == RedirectionPlan.loopMark
                    || redirected.contains(socket.local)
            }
        }
    }
}
