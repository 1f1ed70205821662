import Redirection
import Testing

@testable import NodeAgent

@Suite("Enrolment plan")
struct EnrolmentPlanTests {
    private let now = ContinuousClock.now
    private let here = namespaceID(1)

    private func shown(_ steps: [EnrolmentPlan.Step]) -> [String] {
        steps.map { step in
            switch step {
            case .enrol(let pod, let replacing): replacing ? "replace \(pod.uid)" : "enrol \(pod.uid)"
            case .withdraw(let uid, let drains): drains ? "withdraw \(uid)" : "withdraw \(uid) at once"
            case .finish(let uid, let isDue): isDue ? "finish \(uid) now" : "finish \(uid)"
            }
        }
    }

    @Test("enrols what is desired and not there, once")
    func enrol() throws {
        var plan = EnrolmentPlan()
        let web = try pod("web")
        #expect(shown(plan.steps(desired: [web], observed: ["web": here], now: now)) == ["enrol web"])
        plan.enrolled(web, in: here)
        #expect(plan.steps(desired: [web], observed: ["web": here], now: now).isEmpty)
    }

    @Test("withdraws what is there and not desired, before it enrols anything")
    func withdraw() throws {
        var plan = EnrolmentPlan()
        plan.enrolled(try pod("old"), in: here)
        let steps = plan.steps(desired: [try pod("new")], observed: ["new": here], now: now)
        #expect(shown(steps) == ["withdraw old", "enrol new"])
        plan.withdrawn(uid: "old")
        #expect(plan.entries["old"] == nil)
    }

    @Test("withdraws a pod from its old namespace before it enrols it in the new one")
    func newNamespace() throws {
        var plan = EnrolmentPlan()
        let web = try pod("web")
        plan.enrolled(web, in: here)
        let observed = ["web": namespaceID(2)]
        #expect(shown(plan.steps(desired: [web], observed: observed, now: now)) == ["withdraw web at once"])
        plan.withdrawn(uid: "web")
        #expect(shown(plan.steps(desired: [web], observed: observed, now: now)) == ["enrol web"])
    }

    @Test("a draining pod is looked at now and then, until its first deadline; a pod that moved is not waited for")
    func draining() throws {
        var plan = EnrolmentPlan()
        let web = try pod("web")
        plan.enrolled(web, in: here)
        plan.draining(uid: "web", until: now + .seconds(1), now: now)
        #expect(plan.steps(desired: [], observed: [:], now: now).isEmpty)
        let later = now + .milliseconds(900)
        #expect(shown(plan.steps(desired: [], observed: [:], now: later)) == ["finish web"])
        plan.draining(uid: "web", until: later + .seconds(1), now: later)
        #expect(plan.steps(desired: [], observed: [:], now: later).isEmpty)
        #expect(shown(plan.steps(desired: [], observed: [:], now: now + .seconds(1))) == ["finish web now"])
        #expect(shown(plan.steps(desired: [web], observed: ["web": here], now: later)) == ["enrol web"])
        let moved = plan.steps(desired: [web], observed: ["web": namespaceID(2)], now: now + .seconds(1))
        #expect(shown(moved) == ["finish web now"])
        plan.draining(uid: "unknown", until: now, now: now)
        #expect(plan.entries["unknown"] == nil)
    }

    @Test("leaves a pod alone while nothing is at its path: it is held open, and may be dying")
    func pathGone() throws {
        var plan = EnrolmentPlan()
        let web = try pod("web")
        plan.enrolled(web, in: here)
        #expect(plan.steps(desired: [web], observed: [:], now: now).isEmpty)
    }

    @Test("hands a pod over anew when its identity changed, keeping the redirection")
    func identity() throws {
        var plan = EnrolmentPlan()
        plan.enrolled(try pod("web"), in: here)
        let changed = try pod("web", serviceAccount: "other")
        #expect(shown(plan.steps(desired: [changed], observed: ["web": here], now: now)) == ["replace web"])
        plan.failed(toEnrol: changed, in: here, reason: "x", now: now)
        let later = now + .seconds(60)
        #expect(shown(plan.steps(desired: [changed], observed: ["web": here], now: later)) == ["replace web"])
        plan.enrolled(changed, in: here)
        #expect(plan.steps(desired: [changed], observed: ["web": here], now: later).isEmpty)
    }

    @Test("redirects a pod otherwise when its exclusions changed, and the proxy keeps it")
    func exclusions() throws {
        var plan = EnrolmentPlan()
        plan.enrolled(try pod("web"), in: here)
        let changed = try pod("web", exclusions: PodExclusions(outboundPorts: [25]))
        #expect(shown(plan.steps(desired: [changed], observed: ["web": here], now: now)) == ["enrol web"])
        plan.enrolled(changed, in: here)
        #expect(plan.steps(desired: [changed], observed: ["web": here], now: now).isEmpty)
        #expect(shown(plan.steps(desired: [try pod("web")], observed: ["web": here], now: now)) == ["enrol web"])
    }

    @Test("adopts what an earlier agent left and is still wanted, withdraws the rest")
    func adoption() throws {
        let records = [
            PodRecord(uid: "gone", netns: "/run/netns/gone", namespace: namespaceID(2)),
            PodRecord(uid: "moved", netns: "/run/netns/moved", namespace: namespaceID(3)),
            PodRecord(uid: "web", netns: "/run/netns/web", namespace: here),
        ]
        let plan = EnrolmentPlan(recorded: records)
        #expect(plan.entries["web"]?.phase == .recorded)
        let steps = plan.steps(
            desired: [try pod("web"), try pod("moved")], observed: ["web": here, "moved": namespaceID(4)], now: now)
        #expect(shown(steps) == ["withdraw gone", "withdraw moved at once", "enrol web"])
    }

    @Test("tries a failed pod again after half a second, then ever later, up to half a minute; others at once")
    func backoff() throws {
        var plan = EnrolmentPlan()
        let (bad, good) = (try pod("bad"), try pod("good"))
        var delays: [Duration] = []
        var time = now
        for attempt in 1...9 {
            plan.failed(toEnrol: bad, in: nil, reason: "no such file", now: time)
            let failure = try #require(plan.entries["bad"]?.failure)
            #expect(failure.reason == "no such file")
            #expect(failure.attempts == attempt)
            let before = plan.steps(desired: [bad, good], observed: [:], now: failure.retryAt - .milliseconds(1))
            #expect(shown(before) == ["enrol good"])
            let due = plan.steps(desired: [bad, good], observed: [:], now: failure.retryAt)
            #expect(shown(due) == ["enrol bad", "enrol good"])
            delays.append(failure.retryAt - time)
            time = failure.retryAt
        }
        #expect(delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30].map { .seconds($0) })
        plan.enrolled(bad, in: here)
        plan.failed(toEnrol: bad, in: here, reason: "again", now: time)
        #expect(plan.entries["bad"]?.failure?.attempts == 1)
    }

    @Test("tries a failed withdrawal again at its time")
    func failedWithdrawal() throws {
        var plan = EnrolmentPlan()
        plan.enrolled(try pod("web"), in: here)
        plan.failed(toWithdraw: "web", reason: "busy", now: now)
        #expect(plan.steps(desired: [], observed: [:], now: now).isEmpty)
        #expect(shown(plan.steps(desired: [], observed: [:], now: now + .seconds(1))) == ["withdraw web"])
        // Wanted again meanwhile: completed rather than withdrawn.
        let steps = plan.steps(desired: [try pod("web")], observed: ["web": here], now: now + .seconds(1))
        #expect(shown(steps) == ["enrol web"])
        plan.failed(toWithdraw: "unknown", reason: "x", now: now)
        #expect(plan.entries["unknown"] == nil)
    }

    @Test("withdraws a pod that failed and is no longer wanted: part of the redirection may be there")
    func failedAndUnwanted() throws {
        var plan = EnrolmentPlan()
        plan.failed(toEnrol: try pod("web"), in: nil, reason: "x", now: now)
        #expect(shown(plan.steps(desired: [], observed: [:], now: now)) == ["withdraw web"])
    }
}
