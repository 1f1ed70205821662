import Testing

@testable import NodeAgent

@Suite("Whose a process is, by its cgroup")
struct PodCgroupTests {
    struct Case: CustomTestStringConvertible {
        let path: String
        let uids: [String]
        var testDescription: String { path }

        init(_ path: String, _ uids: String...) {
            self.path = path
            self.uids = uids
        }
    }

    static let uid = "2c48913c-b29f-11e7-9350-020968147796"
    static let escaped = "2c48913c_b29f_11e7_9350_020968147796"
    static let other = "a1b2c3d4-0000-4000-8000-0123456789ab"
    static let container = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"

    @Test(
        "pods of every driver, runtime and version of cgroups are recognised, and nothing else is",
        arguments: [
            // cgroupfs: v1 and v2, guaranteed, burstable, best effort
            Case("/kubepods/pod\(uid)/\(container)", uid),
            Case("/kubepods/burstable/pod\(uid)/\(container)", uid),
            Case("/kubepods/besteffort/pod\(uid)/crio-\(container)", uid),
            Case("/kubepods/besteffort/pod\(uid)", uid),
            // systemd: containerd, CRI-O with its monitor, docker
            Case("/kubepods.slice/kubepods-pod\(escaped).slice/cri-containerd-\(container).scope", uid),
            Case(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod\(escaped).slice/cri-containerd-\(container).scope",
                uid),
            Case(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod\(escaped).slice/crio-\(container).scope/container",
                uid),
            Case(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod\(escaped).slice/crio-conmon-\(container).scope",
                uid),
            Case(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod\(uid).slice/docker-\(container).scope",
                uid),
            // containerd told to use cgroupfs under a kubelet that uses systemd
            Case(
                "/system.slice/containerd.service/kubepods-burstable-pod\(escaped).slice:cri-containerd:\(container)",
                uid),
            Case("/kubepods-pod\(escaped).slice:cri-containerd:\(container)", uid),
            // kind, minikube: a node that is a container
            Case(
                "/docker/\(container)/kubelet/kubepods/besteffort/pod\(uid)/\(container)", uid),
            Case(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod\(escaped).slice/cri-containerd-\(container).scope",
                uid),
            // A node in a pod: outer first
            Case("/kubepods/pod\(other)/\(container)/kubelet/kubepods/pod\(uid)/\(container)", other, uid),
            // Seen from within another cgroup namespace
            Case("/../../kubepods-besteffort-pod\(escaped).slice/cri-containerd-\(container).scope", uid),
            Case("/../../pod\(uid)/\(container)", uid),
            // A static pod, by the hash of its file
            Case(
                "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/\(container)",
                "0123456789abcdef0123456789abcdef"),
            // Nobody's
            Case("/"), Case(""), Case("/user.slice/user-0.slice/session-1.scope"),
            Case("/kubepods.slice/kubepods-burstable.slice"), Case("/kubepods/burstable"),
            Case("/system.slice/kubelet.service"), Case("/podman-\(container).scope"), Case("/podinfo/\(container)"),
            Case("/kubepods/pod\(escaped)/\(container)"), Case("/kubepods/pod\(uid)0/x"), Case("/kubepods/pod/x"),
            Case("/kubepods/pod\(uid.dropLast())g/x"), Case("/kubepods/\(uid)/x"),
            Case("/machine.slice/libpod-\(container).scope"),
        ])
    func recognises(_ example: Case) {
        #expect(PodCgroup.uids(inPath: example.path[...]) == example.uids)
    }

    @Test("the file has one line for each hierarchy: each pod counts once, in whichever")
    func file() {
        let uid = PodCgroupTests.uid
        #expect(PodCgroup.uids(inFile: ["0::/kubepods/pod\(uid)/x"]) == [uid])
        #expect(
            PodCgroup.uids(inFile: [
                "12:memory:/kubepods/pod\(uid)/x", "11:cpu,cpuacct:/kubepods/pod\(uid)/x",
                "1:name=systemd:/kubepods/pod\(uid)/x", "0::/",
            ]) == [uid])
        #expect(PodCgroup.uids(inFile: ["1:name=systemd:/kubepods-pod\(PodCgroupTests.escaped).slice:cri:x"]) == [uid])
        #expect(PodCgroup.uids(inFile: ["", "0", "0:", "nonsense /kubepods/pod\(uid)"]) == [])
    }

    @Test(
        "a process may be called whatever it likes: its start is still found",
        arguments: ["cat", "a b", ") S 1 1", "((", "a)b"])
    func start(_ name: String) {
        let line = "42 (\(name)) S 1 42 42 0 -1 4194560 100 0 0 0 0 1 0 0 20 0 1 0 987654 8192 100 18446744073709551615"
        #expect(PodProcesses.startTime(inFile: line) == 987_654)
        #expect(PodProcesses.startTime(inFile: "42 (\(name)) S 1 42") == nil)
    }
}
