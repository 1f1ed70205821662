internal import Synchronization

/// Signatures on their way into the store: those that arrive while others are being written go together in the next transaction.
///
/// A transaction costs much the same for one as for a hundred. Nobody returns before his own records are in the store, all of them.
/// What fails leaves none of them there.
final class IssuanceLog: Sendable {
    /// Callers whose records go together.
    static let batchMax = 256

    private enum Turn {
        case written
        case failed(StoreError)
        /// Write what has come together, one's own records first.
        case lead
    }

    private struct Entry {
        let records: [IssuanceRecord]
        /// nil for who leads.
        var turn: CheckedContinuation<Turn, Never>?
    }

    private struct State {
        var waiting: [Entry] = []
        var isWriting = false
    }

    private let store: any AuthorityStore
    private let state = Mutex(State())

    init(store: any AuthorityStore) { self.store = store }

    func record(_ issuances: [IssuanceRecord]) async throws(StoreError) {
        let turn = await withCheckedContinuation { turn in
            let leads = state.withLock { state in
                let leads = !state.isWriting
                state.isWriting = true
                state.waiting.append(Entry(records: issuances, turn: leads ? nil : turn))
                return leads
            }
            if leads { turn.resume(returning: .lead) }
        }
        switch turn {
        case .written: return
        case .failed(let failure): throw failure
        case .lead: try await lead()
        }
    }

    private func lead() async throws(StoreError) {
        let batch = state.withLock { state in
            defer { state.waiting.removeFirst(min(Self.batchMax, state.waiting.count)) }
            return Array(state.waiting.prefix(Self.batchMax))
        }
        let outcomes = await write(batch)
        for (entry, outcome) in zip(batch, outcomes) {
            entry.turn?.resume(returning: outcome.map { .failed($0) } ?? .written)
        }
        // The next one in line leads the next batch.
        let next = state.withLock { state -> CheckedContinuation<Turn, Never>? in
            guard !state.waiting.isEmpty else {
                state.isWriting = false
                return nil
            }
            defer { state.waiting[0].turn = nil }
            return state.waiting[0].turn
        }
        next?.resume(returning: .lead)
        if let failure = outcomes[0] { throw failure }
    }

    /// Of each its failure. What the store does not take of one must not cost the others their place.
    private func write(_ batch: [Entry]) async -> [StoreError?] {
        do throws(StoreError) {
            try await store.record(batch.flatMap(\.records))
            return batch.map { _ in nil }
        } catch {
            guard batch.count > 1 else { return [error] }
            switch error {
            case .other, .superseded: return await writeApart(batch)
            default: return batch.map { _ in error }
            }
        }
    }

    private func writeApart(_ batch: [Entry]) async -> [StoreError?] {
        var outcomes: [StoreError?] = []
        for entry in batch { outcomes.append(await failure(of: entry.records)) }
        return outcomes
    }

    private func failure(of records: [IssuanceRecord]) async -> StoreError? {
        do throws(StoreError) {
            try await store.record(records)
            return nil
        } catch {
            return error
        }
    }
}
