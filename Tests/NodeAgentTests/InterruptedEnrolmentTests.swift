import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent
@testable import Redirection

/// Everything that an agent does to a pod, one thing after another: between any two it may be killed.
enum EnrolmentStep: Hashable, CustomStringConvertible {
    case record, guarding
    case install(PodRedirection.Step)
    case reset
    case remove(PodRedirection.Removal)
    case unguarding, forget

    static let enrolment = [record, guarding] + PodRedirection.Step.allCases.map(install) + [reset]
    static let withdrawal =
        PodRedirection.Removal.release.map(remove) + [unguarding]
        + PodRedirection.Removal.allCases.filter { !PodRedirection.Removal.release.contains($0) }.map(remove) + [forget]

    var description: String {
        switch self {
        case .record: "record"
        case .guarding: "guard"
        case .install(let step): "install-\(step.rawValue)"
        case .reset: "reset"
        case .remove(let step): "remove-\(step.rawValue)"
        case .unguarding: "unguard"
        case .forget: "forget"
        }
    }
}

/// In a process of its own: the steps that the environment names, and then SIGKILL.
enum EnrolmentChild {
    static let variable = "CULVERT_TEST_ENROLMENT"

    static func task(_ fixture: EnrolmentFixture, _ steps: ArraySlice<EnrolmentStep>) throws -> String {
        let node = try fixture.node()
        let descriptors = [fixture.web.namespace, node.host].map { "/proc/\(getpid())/fd/\($0.descriptor)" }
        let words = [node.backend.rawValue, node.runDirectory, node.pins, node.cgroup, fixture.directory.netns]
        return (words + descriptors + steps.map(\.description)).joined(separator: " ")
    }

    static func run() throws {
        let words = String(cString: getenv(variable)).split(separator: " ").map(String.init)
        let node = EnrolmentNode(
            backend: try #require(Backend(rawValue: words[0])), runDirectory: words[1], pins: words[2],
            cgroup: words[3], host: try NetworkNamespace(path: words[6]))
        for directory in [words[1], words[1] + "/pods"] { mkdir(directory, 0o700) }
        let namespace = try NetworkNamespace(path: words[5])
        let podGuard = try node.podGuard()
        let capture = try node.capture()
        let redirector = try node.redirector(capture, podGuard)
        let redirection = try node.redirection("web-uid", namespace, capture)
        let named = Dictionary(
            uniqueKeysWithValues: (EnrolmentStep.enrolment + EnrolmentStep.withdrawal).map { ($0.description, $0) })
        for word in words.dropFirst(7) {
            switch try #require(named[word]) {
            case .record:
                try redirector.record(uid: "web-uid", netns: words[4], in: namespace, plan: RedirectionPlan())
            case .guarding: try podGuard.attach(pod: "web-uid", in: namespace)
            case .install(let step): try redirection.perform(step)
            case .reset: _ = try redirector.resetConnections(uid: "web-uid", in: namespace, plan: RedirectionPlan())
            case .remove(let step): try redirection.perform(step)
            case .unguarding: try podGuard.detach(pod: "web-uid")
            case .forget: try redirector.remove(uid: "web-uid", from: nil)
            }
        }
        kill(getpid(), SIGKILL)
    }
}

/// Row F4 of the capture checklist.
@Suite(
    "F4: an agent killed between two steps", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: EnrolmentFixture.isPossible, "needs root and nft: makes network namespaces"))
struct InterruptedEnrolmentTests {
    @Test(
        "of enrolment: the next one completes it, nothing is said in plaintext meanwhile, and no trace stays",
        arguments: Backend.allCases)
    func enrolment(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let before = try fixture.inventory()
        for count in 1...EnrolmentStep.enrolment.count {
            let steps = EnrolmentStep.enrolment.prefix(count)
            let comment: Comment = "\(backend) killed after \(steps.last!)"
            let listener = try fixture.peer.listener(8080)
            let tap = try PlaintextTap(fixture)
            let chatter = try Chatter(fixture, at: listener)
            // As an agent does before its first pod.
            try fixture.node().podGuard().publish([fixture.web.v4, fixture.web.v6, fixture.peer.v4, fixture.peer.v6])
            try await killed(fixture, steps)
            var said: UInt64?
            if steps.contains(.guarding) { said = try await quiet(chatter, tap) }
            fixture.write(isEnrolled: true)
            try await fixture.withAgent { agent in
                #expect(await eventually { fixture.isEnrolled(agent) }, comment)
                if let said {
                    #expect(tap.bytes == said, comment)
                } else {
                    said = try await quiet(chatter, tap)
                }
                try await chatter.tries()
                #expect(chatter.isCutOff, comment)
                #expect(tap.bytes == said && tap.isSound, comment)
                chatter.stop()
            }
            _ = try fixture.web.namespace.run { try TestConnection.connect(to: fixture.service) }.raw
            _ = consume listener
            try await fixture.expectInventory(before, comment.rawValue)
        }
    }

    private static let returns: [EnrolmentStep] = [.remove(.outbound), .unguarding, .remove(.settings)]

    @Test(
        "of withdrawal: the next one finishes it, or enrols the pod again; no trace stays either way",
        arguments: Backend.allCases)
    func withdrawal(_ backend: Backend) async throws {
        let fixture = try EnrolmentFixture(backend)
        let before = try fixture.inventory()
        let all = EnrolmentStep.withdrawal
        let cases = all.map { (last: $0, isWantedAgain: false) } + Self.returns.map { (last: $0, isWantedAgain: true) }
        for (last, isWantedAgain) in cases {
            let steps = EnrolmentStep.enrolment + all.prefix(through: try #require(all.firstIndex(of: last)))
            let comment: Comment = "\(backend) killed after \(last)"
            fixture.write(isEnrolled: isWantedAgain)
            try await killed(fixture, steps[...])
            let listener = try fixture.peer.listener(8080)
            try await fixture.withAgent { agent in
                if isWantedAgain {
                    #expect(await eventually { fixture.isEnrolled(agent) }, comment)
                    #expect(throws: Errno.self, comment) {
                        _ = try fixture.web.namespace.run {
                            try TestConnection.connect(to: fixture.service, milliseconds: 500)
                        }.raw
                    }
                } else {
                    #expect(await eventually { agent.podPhases.isEmpty && fixture.directory.records.isEmpty }, comment)
                    _ = try fixture.web.namespace.run { try TestConnection.connect(to: fixture.service) }.raw
                }
            }
            _ = consume listener
            try await fixture.expectInventory(before, comment.rawValue)
        }
    }

    private func killed(_ fixture: EnrolmentFixture, _ steps: ArraySlice<EnrolmentStep>) async throws {
        setenv(EnrolmentChild.variable, try EnrolmentChild.task(fixture, steps), 1)
        defer { unsetenv(EnrolmentChild.variable) }
        await #expect(processExitsWith: .signal(SIGKILL)) { try EnrolmentChild.run() }
    }

    /// What has been said by now, once what was on its way has arrived.
    private func quiet(_ chatter: Chatter, _ tap: PlaintextTap) async throws -> UInt64 {
        try await chatter.tries()
        return tap.bytes
    }
}
