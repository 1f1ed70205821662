import Testing

@testable import MeshAPI

@Suite("Which pods the proxy serves")
struct ZDSClientStateTests {
    private let now = ContinuousClock.now
    private let one = NamespaceIdentity(device: 4, inode: 1)
    private let two = NamespaceIdentity(device: 4, inode: 2)

    /// Connected, with a snapshot of these pods, all served.
    private func serving(_ uids: String...) throws -> ZDSClientState {
        var state = ZDSClientState()
        state.connected()
        for uid in uids { try add(uid, one, to: &state) }
        _ = try state.receive(.snapshotSent, namespace: nil)
        return state
    }

    private func add(_ uid: String, _ namespace: NamespaceIdentity, to state: inout ZDSClientState) throws {
        #expect(try state.receive(.add(uid: uid, webInfo), namespace: namespace) == [.start(uid: uid, webInfo)])
        state.started(uid)
    }

    @Test("it is ready when it is connected, has the snapshot, and serves every pod")
    func readiness() throws {
        var state = ZDSClientState()
        #expect(state.unreadyReason == "not connected to the node agent")
        state.connected()
        #expect(state.unreadyReason == "the node agent has not named all pods yet")
        _ = try state.receive(.add(uid: "a", webInfo), namespace: one)
        state.failed("a", "no such device", now: now)
        _ = try state.receive(.snapshotSent, namespace: nil)
        #expect(state.unreadyReason == "1 pods cannot be served, such as a: no such device")
        #expect(state.retries(now: now + .seconds(5)) == [.start(uid: "a", webInfo)])
        state.started("a")
        #expect(state.unreadyReason == nil)
        state.disconnected()
        #expect(state.unreadyReason == "not connected to the node agent")
    }

    @Test("a pod that is told again is not touched")
    func again() throws {
        var state = try serving("a")
        #expect(try state.receive(.add(uid: "a", webInfo), namespace: one) == [])
    }

    @Test("a pod in another namespace, or with another service account, is another pod")
    func replaced() throws {
        var state = try serving("a")
        #expect(
            try state.receive(.add(uid: "a", webInfo), namespace: two) == [.stop(uid: "a"), .start(uid: "a", webInfo)])
        state.started("a")
        let other = ZDSWorkloadInfo(name: "web-1", namespace: "shop", serviceAccount: "other")
        #expect(
            try state.receive(.add(uid: "a", other), namespace: two) == [.stop(uid: "a"), .start(uid: "a", other)])
    }

    @Test("a removal stops the pod at once, and an unknown one nothing")
    func removal() throws {
        var state = try serving("a")
        #expect(try state.receive(.delete(uid: "a"), namespace: nil) == [.stop(uid: "a")])
        #expect(try state.receive(.delete(uid: "a"), namespace: nil) == [])
    }

    @Test("after a reconnect what the snapshot does not name is stopped, and not before its end")
    func reconcile() throws {
        var state = try serving("a", "b", "c", "d")
        state.disconnected()
        state.connected()
        #expect(state.runningCount == 4)
        #expect(try state.receive(.add(uid: "a", webInfo), namespace: one) == [])
        #expect(try state.receive(.keep(uid: "b"), namespace: nil) == [])
        #expect(try state.receive(.add(uid: "c", webInfo), namespace: one) == [])
        #expect(try state.receive(.delete(uid: "c"), namespace: nil) == [])
        #expect(try state.receive(.snapshotSent, namespace: nil) == [.stop(uid: "c"), .stop(uid: "d")])
        #expect(state.runningCount == 2)
    }

    @Test("what is pending is forgotten on reconnect: the snapshot brings it again")
    func pendingForgotten() throws {
        var state = try serving()
        _ = try state.receive(.add(uid: "a", webInfo), namespace: one)
        state.failed("a", "no", now: now)
        #expect(state.isPending("a"))
        state.connected()
        #expect(!state.isPending("a"))
        #expect(state.retryTime == nil)
    }

    @Test("a pod that cannot be served is tried again every 5 seconds, and no longer once it is removed")
    func retry() throws {
        var state = try serving()
        _ = try state.receive(.add(uid: "a", webInfo), namespace: one)
        state.failed("a", "no", now: now)
        #expect(state.retryTime == now + .seconds(5))
        #expect(state.retries(now: now + .seconds(4)).isEmpty)
        #expect(state.retries(now: now + .seconds(5)) == [.start(uid: "a", webInfo)])
        state.failed("a", "no", now: now + .seconds(5))
        #expect(state.retryTime == now + .seconds(10))
        #expect(try state.receive(.delete(uid: "a"), namespace: nil) == [])
        #expect(state.retryTime == nil)
    }

    @Test("a failed replacement leaves nothing running")
    func failedReplacement() throws {
        var state = try serving("a")
        _ = try state.receive(.add(uid: "a", webInfo), namespace: two)
        state.failed("a", "no", now: now)
        #expect(state.runningCount == 0)
        #expect(state.pendingCount == 1)
    }

    @Test("a second snapshot, a keep after it, an add without a namespace and others with one end the connection")
    func protocolErrors() throws {
        var state = try serving("a")
        #expect(throws: ZDSError.self) { try state.receive(.snapshotSent, namespace: nil) }
        #expect(throws: ZDSError.self) { try state.receive(.keep(uid: "a"), namespace: nil) }
        #expect(throws: ZDSError.self) { try state.receive(.add(uid: "b", webInfo), namespace: nil) }
        #expect(throws: ZDSError.self) { try state.receive(.delete(uid: "a"), namespace: one) }
        #expect(state.runningCount == 1)
    }
}
