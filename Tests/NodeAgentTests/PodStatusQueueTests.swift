import FoundationEssentials
import KubernetesAPI
import Testing

@testable import NodeAgent

@Suite("What the API server is still to be told of pods")
struct PodStatusQueueTests {
    private let now = ContinuousClock.now
    private let enrolled = PodEnrolmentStatus(state: .enrolled, backend: "nft")
    private let waiting = PodEnrolmentStatus(state: .waiting, reason: "no process")

    private func subject(_ uid: String) -> PodStatusQueue.Subject {
        PodStatusQueue.Subject(uid: uid, namespace: "shop", name: "web-\(uid)")
    }

    @Test("each status once; what the server has taken is not said again")
    func once() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): enrolled, subject("b"): waiting])
        let writes = queue.take(8, now: now)
        #expect(writes.map(\.status) == [enrolled, waiting])
        // While the answer is waited for nobody else writes.
        #expect(queue.take(8, now: now).isEmpty)
        for write in writes { queue.finish(write, .taken, now: now) }
        queue.update([subject("a"): enrolled, subject("b"): waiting])
        #expect(queue.take(8, now: now).isEmpty)
        #expect(queue.pending == 0)
        queue.update([subject("a"): enrolled, subject("b"): enrolled])
        #expect(queue.take(8, now: now) == [.init(subject: subject("b"), status: enrolled, before: waiting)])
    }

    @Test("only the newest of a pod, also of what changed while an older one was on its way")
    func newest() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): waiting])
        let first = queue.take(8, now: now)
        queue.update([subject("a"): PodEnrolmentStatus(state: .draining)])
        queue.update([subject("a"): enrolled])
        #expect(queue.take(8, now: now).isEmpty)
        queue.finish(first[0], .taken, now: now)
        #expect(queue.take(8, now: now) == [.init(subject: subject("a"), status: enrolled, before: waiting)])
    }

    @Test("a few at once, and all in the end")
    func some() {
        var queue = PodStatusQueue()
        queue.update(Dictionary(uniqueKeysWithValues: (0..<250).map { (subject("\($0)"), enrolled) }))
        var seen: Set<String> = []
        var rounds = 0
        while queue.pending > 0, rounds < 100 {
            let writes = queue.take(8, now: now)
            #expect((1...8).contains(writes.count))
            seen.formUnion(writes.map(\.subject.uid))
            for write in writes { queue.finish(write, .taken, now: now) }
            rounds += 1
        }
        #expect(seen.count == 250)
    }

    @Test("what failed is said again after half a second, then later and later, and holds up no other")
    func backoff() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): enrolled])
        var time = now
        for delay: Double in [0.5, 1, 2, 4, 8, 16, 30, 30] {
            let writes = queue.take(8, now: time)
            #expect(writes.count == 1)
            queue.finish(writes[0], .failed, now: time)
            #expect(queue.take(8, now: time + .seconds(delay) - .milliseconds(1)).isEmpty)
            time += .seconds(delay)
        }
        queue.update([subject("a"): enrolled, subject("b"): enrolled])
        let other = queue.take(1, now: time - .seconds(1))
        #expect(other.map(\.subject.uid) == ["b"])
        #expect(queue.pending == 2)
    }

    @Test("a pod that is not enrolled any more loses what was said on it; one that was never spoken of is left alone")
    func taken() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): enrolled, subject("b"): enrolled])
        let first = queue.take(1, now: now)
        queue.finish(first[0], .taken, now: now)
        queue.update([:])
        let writes = queue.take(8, now: now)
        #expect(writes == [.init(subject: subject("a"), status: nil, before: enrolled)])
        queue.finish(writes[0], .taken, now: now)
        #expect(queue.take(8, now: now).isEmpty)
        #expect(queue.pending == 0)
    }

    @Test("what an earlier agent left on pods that are not enrolled now is taken away")
    func leftovers() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): enrolled], annotated: [subject("b")])
        #expect(
            queue.take(8, now: now) == [
                .init(subject: subject("a"), status: enrolled, before: nil),
                .init(subject: subject("b"), status: nil, before: nil),
            ])
    }

    @Test("a pod that is gone is not spoken of again")
    func gone() {
        var queue = PodStatusQueue()
        queue.update([subject("a"): enrolled])
        queue.finish(queue.take(8, now: now)[0], .gone, now: now)
        queue.update([subject("a"): enrolled])
        #expect(queue.take(8, now: now).isEmpty)
        queue.update([:])
        let last = queue.take(8, now: now)
        for write in last { queue.finish(write, .gone, now: now) }
        #expect(queue.pending == 0)
    }

    @Test("the annotation is one line of JSON, and nothing else is read as one")
    func text() {
        #expect(enrolled.text == #"{"backend":"nft","state":"enrolled"}"#)
        #expect(waiting.text == #"{"reason":"no process","state":"waiting"}"#)
        for status in [enrolled, waiting] { #expect(PodEnrolmentStatus(text: status.text) == status) }
        for text in ["", "enrolled", "{}", #"{"state":"fine"}"#, "[]"] {
            #expect(PodEnrolmentStatus(text: text) == nil)
        }
        let long = PodEnrolmentStatus(state: .waiting, reason: String(repeating: "x", count: 9000))
        #expect(long.reason?.utf8.count == 512)
    }

    @Test("what the server refuses because the pod is another one is not tried again, what it could not do is")
    func outcomes() {
        func refusal(_ reason: KubernetesError.Refusal.Reason) -> KubernetesError {
            .refused(.init(code: 400, reason: reason, message: ""))
        }
        typealias Reporter = ClusterReporter
        #expect(Reporter.outcome(refusal(.notFound), isKnown: true) == .gone)
        // Somebody else wrote at the same moment; or it is not the pod that was meant.
        #expect(Reporter.outcome(refusal(.conflict), isKnown: true) == .failed)
        #expect(Reporter.outcome(refusal(.conflict), isKnown: false) == .gone)
        #expect(Reporter.outcome(refusal(.invalid), isKnown: false) == .gone)
        for error: KubernetesError in [refusal(.forbidden), refusal(.tooManyRequests), .timedOut, .unreachable("")] {
            #expect(Reporter.outcome(error, isKnown: false) == .failed)
        }
    }

    @Test("that a pod is enrolled is news once, not when the agent starts anew; that it is not, for each reason")
    func news() {
        func reason(
            _ status: PodEnrolmentStatus?, _ before: PodEnrolmentStatus?, wasAnnotated: Bool = false
        ) -> String? {
            let write = PodStatusQueue.Write(subject: subject("a"), status: status, before: before)
            return ClusterReporter.news(write, wasAnnotated: wasAnnotated)?.reason
        }
        #expect(reason(enrolled, nil) == "Enrolled")
        #expect(reason(enrolled, nil, wasAnnotated: true) == nil)
        #expect(reason(enrolled, PodEnrolmentStatus(state: .enrolled, backend: "ebpf")) == nil)
        #expect(reason(enrolled, waiting, wasAnnotated: true) == "Enrolled")
        #expect(reason(waiting, nil) == "EnrolmentFailed")
        #expect(reason(waiting, PodEnrolmentStatus(state: .waiting, reason: "other")) == "EnrolmentFailed")
        #expect(reason(waiting, waiting) == nil)
        #expect(reason(PodEnrolmentStatus(state: .draining), enrolled) == nil)
        #expect(reason(nil, enrolled) == nil)
    }
}
