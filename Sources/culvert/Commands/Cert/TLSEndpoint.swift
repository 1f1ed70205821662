import ArgumentParser
import Glibc

/// `10.244.1.2:15008`, `[fd00::2]:15008` or `web.example.org:443`.
struct TLSEndpoint: ExpressibleByArgument, Sendable {
    let text: String
    let host: String
    let port: UInt16

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = UInt16(argument[argument.index(after: colon)...]),
            port > 0
        else { return nil }
        var host = String(argument[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, !host.utf8.contains(0) else { return nil }
        text = argument
        self.host = host
        self.port = port
    }

    /// Not an address: a server may choose its certificate by it.
    var isName: Bool {
        var bytes = in6_addr()
        return inet_pton(AF_INET, host, &bytes) != 1 && inet_pton(AF_INET6, host, &bytes) != 1
    }

    /// A connected socket that does not block. Each address of a name is tried, within the same time.
    func connect(before deadline: ContinuousClock.Instant) throws(CertificateProblem) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, "\(port)", &hints, &list)
        guard code == 0 else {
            throw CertificateProblem(
                file: text, message: String(cString: gai_strerror(code)), hint: "check the name, or give an address")
        }
        defer { freeaddrinfo(list) }
        var failure = ETIMEDOUT
        var candidate = list
        while let address = candidate {
            let descriptor = open(address.pointee, before: deadline)
            if descriptor >= 0 { return descriptor }
            failure = -descriptor
            candidate = address.pointee.ai_next
        }
        throw CertificateProblem(
            file: text, message: "cannot connect: \(String(cString: strerror(failure)))",
            hint: failure == ECONNREFUSED
                ? "nothing listens there: check address and port, and that the server runs"
                : "check the address, and what may filter it; --timeout gives it longer", code: failure)
    }

    /// The negative error when it fails.
    private func open(_ address: addrinfo, before deadline: ContinuousClock.Instant) -> Int32 {
        let type = address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(address.ai_family, type, address.ai_protocol)
        guard descriptor >= 0 else { return -errno }
        if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return descriptor }
        var code = errno
        if code == EINPROGRESS {
            code = ETIMEDOUT
            var length = socklen_t(MemoryLayout<Int32>.size)
            if Self.wait(descriptor, Int32(POLLOUT), before: deadline),
                getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0, code == 0
            {
                return descriptor
            }
        }
        close(descriptor)
        return -code
    }

    /// Whether one of the events, or an error, came in time.
    static func wait(_ descriptor: Int32, _ events: Int32, before deadline: ContinuousClock.Instant) -> Bool {
        while true {
            let left = (deadline - ContinuousClock.now) / .milliseconds(1)
            guard left > 0 else { return false }
            var waiting = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let count = poll(&waiting, 1, Int32(min(left.rounded(.up), 1_000_000)))
            if count > 0 { return true }
            if count < 0 && errno != EINTR { return false }
        }
    }
}
