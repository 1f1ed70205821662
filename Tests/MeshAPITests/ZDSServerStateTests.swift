import Testing

@testable import MeshAPI

@Suite("What the agent tells proxies")
struct ZDSServerStateTests {
    private let start = ContinuousClock.now
    private let ack = bytes("0a00")
    private let hello = bytes("0801")

    private func connected(_ state: inout ZDSServerState) throws -> ZDSServerState.ConnectionID {
        let accepted = state.connect(now: start)
        let id = try #require(accepted)
        #expect(try state.receive(hello, from: id) == .hello)
        return id
    }

    /// Everything that is due, each request acknowledged at once.
    private func drain(_ state: inout ZDSServerState, _ id: ZDSServerState.ConnectionID) throws -> [ZDSRequest] {
        var requests: [ZDSRequest] = []
        while let request = state.next(for: id, now: start) {
            requests.append(request)
            #expect(try state.receive(ack, from: id) == .acknowledged(uid: request.uid, error: nil))
        }
        return requests
    }

    @Test("a new connection hears of every pod, then that this was all, then of changes")
    func snapshot() throws {
        var state = ZDSServerState()
        try state.add(uid: "b", webInfo)
        try state.add(uid: "a", webInfo)
        let id = try connected(&state)
        #expect(try drain(&state, id) == [.add(uid: "b", webInfo), .add(uid: "a", webInfo), .snapshotSent])
        try state.add(uid: "c", webInfo)
        state.delete(uid: "b")
        #expect(try drain(&state, id) == [.delete(uid: "b"), .add(uid: "c", webInfo)])
        #expect(try drain(&state, id).isEmpty)
        #expect(state.isSettled)
        state.delete(uid: "a")
        #expect(!state.isSettled)
        #expect(state.next(for: id, now: start) == .delete(uid: "a"))
        #expect(!state.isSettled)
    }

    @Test("nothing is said before the hello")
    func beforeHello() throws {
        var state = ZDSServerState()
        let accepted = state.connect(now: start)
        let id = try #require(accepted)
        #expect(state.next(for: id, now: start) == nil)
    }

    @Test("one request is in flight at a time")
    func oneInFlight() throws {
        var state = ZDSServerState()
        try state.add(uid: "a", webInfo)
        let id = try connected(&state)
        #expect(state.next(for: id, now: start) == .add(uid: "a", webInfo))
        #expect(state.next(for: id, now: start) == nil)
        #expect(try state.receive(bytes("0a040a026e6f"), from: id) == .acknowledged(uid: "a", error: "no"))
        #expect(state.next(for: id, now: start) == .snapshotSent)
    }

    @Test("a pod that came and went unseen is not mentioned")
    func coalesced() throws {
        var state = ZDSServerState()
        let id = try connected(&state)
        #expect(try drain(&state, id) == [.snapshotSent])
        try state.add(uid: "a", webInfo)
        state.delete(uid: "a")
        #expect(try drain(&state, id).isEmpty)
    }

    @Test("a pod that came back under its uid is announced again")
    func replaced() throws {
        var state = ZDSServerState()
        try state.add(uid: "a", webInfo)
        let id = try connected(&state)
        _ = try drain(&state, id)
        state.delete(uid: "a")
        try state.add(uid: "a", webInfo)
        #expect(try drain(&state, id) == [.add(uid: "a", webInfo)])
    }

    @Test("additions go to the newest connection, removals to all")
    func twoConnections() throws {
        var state = ZDSServerState()
        try state.add(uid: "a", webInfo)
        let old = try connected(&state)
        _ = try drain(&state, old)
        let new = try connected(&state)
        #expect(try drain(&state, new) == [.add(uid: "a", webInfo), .snapshotSent])
        try state.add(uid: "b", webInfo)
        state.delete(uid: "a")
        #expect(try drain(&state, old) == [.delete(uid: "a")])
        #expect(try drain(&state, new) == [.delete(uid: "a"), .add(uid: "b", webInfo)])
        // The new proxy goes away again: the old one is the newest.
        state.disconnect(new)
        #expect(try drain(&state, old) == [.add(uid: "b", webInfo)])
    }

    @Test("an unasked packet, a second hello and a packet that is no acknowledgement end the connection")
    func protocolErrors() throws {
        var state = ZDSServerState()
        let id = try connected(&state)
        #expect(throws: ZDSError.self) { try state.receive(ack, from: id) }
        #expect(state.next(for: id, now: start) == .snapshotSent)
        #expect(throws: ZDSError.self) { try state.receive(hello, from: id) }
    }

    @Test("a hello and an acknowledgement are due within 5 seconds")
    func deadlines() throws {
        var state = ZDSServerState()
        let accepted = state.connect(now: start)
        let id = try #require(accepted)
        #expect(!state.isOverdue(id, now: start + .milliseconds(4999)))
        #expect(state.isOverdue(id, now: start + .seconds(5)))
        _ = try state.receive(hello, from: id)
        #expect(!state.isOverdue(id, now: start + .seconds(60)))
        _ = state.next(for: id, now: start + .seconds(60))
        #expect(!state.isOverdue(id, now: start + .seconds(64)))
        #expect(state.isOverdue(id, now: start + .seconds(65)))
    }

    @Test("connections are bounded")
    func connectionBound() {
        var state = ZDSServerState()
        for _ in 0..<ZDSServerState.connectionsMax { #expect(state.connect(now: start) != nil) }
        #expect(state.connect(now: start) == nil)
    }

    @Test("a pod that does not fit a packet is refused when it is added")
    func tooLong() {
        var state = ZDSServerState()
        #expect(throws: ZDSError.self) { try state.add(uid: String(repeating: "u", count: 1024), webInfo) }
        #expect(state.podCount == 0)
    }
}
