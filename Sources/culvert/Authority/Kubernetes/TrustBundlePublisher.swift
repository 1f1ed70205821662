import KubernetesAPI
import Logging
import SPIFFE
import Synchronization

/// Keeps the trust bundle's ConfigMap where `BundlePlacement` says, and as it says.
///
/// Several authorities of one trust domain may do so at once, without a leader: what they write is the same, and the older bundle gives
/// way. No write replaces what its writer has not seen, so that a newer bundle is never followed by an older one.
final class TrustBundlePublisher: Sendable {
    private let client: KubernetesClient
    private let name: String
    private let instance: String
    private let logger: Logger
    private let placement: Mutex<BundlePlacement>
    private let looks = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// `instance` is this replica's alone.
    init(client: KubernetesClient, name: String, home: String, instance: String, logger: Logger) {
        self.client = client
        self.name = name
        self.instance = instance
        self.logger = logger
        placement = Mutex(BundlePlacement(name: name, home: home))
    }

    /// Until its task is cancelled.
    func run(bundles: AsyncStream<TrustBundle>, enrolled: AsyncStream<Set<String>>) async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                for await bundle in bundles {
                    self.change {
                        $0.content = .init(pem: bundle.pem(), jwks: bundle.jwks(), sequence: bundle.sequence)
                    }
                }
            }
            group.addTask {
                for await namespaces in enrolled { self.change { $0.enrolled = namespaces } }
            }
            group.addTask { [client, name] in
                await Informer(ConfigMap.self, of: client, selection: .named(name)).run { event in
                    self.change { $0.take(event) }
                }
            }
            group.addTask { await self.work() }
        }
    }

    private func change(_ body: (inout BundlePlacement) -> Void) {
        placement.withLock { body(&$0) }
        looks.continuation.yield()
    }

    private func work() async {
        var backoff = Backoff()
        var complaints: [String: String] = [:]
        for await _ in looks.stream {
            var failures: [String: String] = [:]
            for step in placement.withLock({ $0.steps }) {
                do {
                    try await perform(step)
                } catch is CancellationError {
                    return
                } catch {
                    let reason = "\(error)"
                    failures[step.namespace] = reason
                    guard complaints[step.namespace] != reason else { continue }
                    logger.warning(
                        "The trust bundle's ConfigMap is not as it should be; it will be tried again",
                        metadata: ["namespace": "\(step.namespace)", "name": "\(name)", "reason": "\(reason)"])
                }
            }
            complaints = failures
            guard !failures.isEmpty else {
                backoff.reset()
                continue
            }
            do { try await Task.sleep(for: backoff.next(draw: .random(in: 0..<1))) } catch { return }
            looks.continuation.yield()
        }
    }

    /// What has come of it is the informer's to say: an answer taken for the present state could hide what somebody has done since.
    /// Doing a step twice changes nothing. Whoever was faster is heard of in the same way.
    func perform(_ step: BundlePlacement.Step) async throws {
        do {
            try await write(step)
        } catch let error as KubernetesError where error.reason == .conflict {
            logger.debug(
                "Somebody else has written the trust bundle's ConfigMap",
                metadata: ["namespace": "\(step.namespace)", "name": "\(name)"])
        }
    }

    private func write(_ step: BundlePlacement.Step) async throws {
        switch step {
        case .create(let map):
            // By name in the path, so that the right to make it can be the right to make this one. Each replica is a manager of its own:
            // what another one has made meanwhile, with other content, is a conflict.
            try await client.patch(
                ConfigMap.self, name: map.name, namespace: map.namespace,
                .apply(map, manager: Self.manager(instance), force: false))
            logger.info("Trust bundle published", metadata: ["namespace": "\(map.namespace)", "name": "\(name)"])
        case .repair(let namespace, let changes):
            try await client.patch(ConfigMap.self, name: name, namespace: namespace, .merge(changes))
            logger.info("Trust bundle brought up to date", metadata: ["namespace": "\(namespace)", "name": "\(name)"])
        case .remove(let namespace, let uid):
            do {
                try await client.delete(ConfigMap.self, name: name, namespace: namespace, uid: uid)
            } catch let error as KubernetesError where error.reason == .notFound {
                return
            }
            logger.info("Trust bundle taken away", metadata: ["namespace": "\(namespace)", "name": "\(name)"])
        }
    }
}

extension TrustBundlePublisher {
    /// The API server takes up to 128 characters.
    private static func manager(_ instance: String) -> String {
        String((BundlePlacement.manager + "-" + instance).prefix(128))
    }
}

extension BundlePlacement.Step {
    var namespace: String {
        switch self {
        case .create(let map): map.namespace
        case .repair(let namespace, _), .remove(let namespace, _): namespace
        }
    }
}
