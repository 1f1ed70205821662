/// What an application with every privilege that a pod may have (CAP_NET_RAW) does to get past the proxy: each attempt by its name, with a
/// text to send.
///
/// Run by python3 with: v4 or v6, the pod's address, the destination's, a prefix for the texts, and the names.
enum BypassProgram {
    static let text = #"""
        import ctypes, mmap, os, socket, struct, subprocess, sys

        family, own, peer, prefix = sys.argv[1:5]
        names = sys.argv[5:]
        v6 = family == 'v6'
        AF = socket.AF_INET6 if v6 else socket.AF_INET
        PORT, MARK, DEVICE = 8080, 36, 25
        libc = ctypes.CDLL(None, use_errno=True)
        kept = []

        def tcp(text, to=None, kind=AF, number=0, mark=None, device=None, bind=None, prepare=None, after=None):
            s = socket.socket(kind, socket.SOCK_STREAM, number)
            kept.append(s)
            s.settimeout(0.4)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if mark is not None: s.setsockopt(socket.SOL_SOCKET, MARK, mark)
            if device: s.setsockopt(socket.SOL_SOCKET, DEVICE, device)
            if prepare: prepare(s)
            if bind: s.bind(bind)
            s.connect(to or (peer, PORT))
            if after: after(s)
            s.send(text)

        def transparent(s):
            s.setsockopt(*((41, 75, 1) if v6 else (0, 19, 1)))

        def fast_open(text):
            s = socket.socket(AF)
            kept.append(s)
            s.settimeout(0.4)
            s.sendto(text, socket.MSG_FASTOPEN, (peer, PORT))

        def without_waiting(text):
            s = socket.socket(AF)
            kept.append(s)
            s.setblocking(False)
            s.connect_ex((peer, PORT))
            for _ in range(200):
                try: return s.send(text)
                except BlockingIOError: os.sched_yield()

        def reconnect_first(s):
            try: s.connect((peer, PORT + 1))
            except OSError: pass
            libc.connect(s.fileno(), bytes(28), 28)

        def passed(text):
            here, there = socket.socketpair()
            if os.fork() == 0:
                made = socket.socket(AF)
                socket.send_fds(there, [b'.'], [made.fileno()])
                os._exit(0)
            descriptor = socket.recv_fds(here, 1, 1)[1][0]
            s = socket.socket(fileno=descriptor)
            kept.append(s)
            s.settimeout(0.4)
            s.connect((peer, PORT))
            s.send(text)

        def executed(text):
            s = socket.socket(AF)
            kept.append(s)
            program = 'import socket,sys; s=socket.socket(fileno=%d); s.settimeout(0.4); s.connect((%r,%d)); s.send(%r)'
            subprocess.run([sys.executable, '-c', program % (s.fileno(), peer, PORT, text)], pass_fds=[s.fileno()],
                           stderr=subprocess.DEVNULL)

        # A ring of one entry, by hand: the kernel connects, not this thread.
        def ring(text):
            parameters = (ctypes.c_uint32 * 30)()
            fd = libc.syscall(425, 4, parameters)
            if fd < 0: raise OSError(ctypes.get_errno(), 'io_uring_setup')
            sq, cq = parameters[10:18], parameters[20:28]
            rings = mmap.mmap(fd, 4096)
            entries = mmap.mmap(fd, 4096, offset=0x10000000)
            s = socket.socket(AF)
            kept.append(s)
            s.settimeout(0.4)
            name = struct.pack('=HH', AF, socket.htons(PORT))
            name += (bytes(4) + socket.inet_pton(AF, peer) + bytes(4)) if v6 else (socket.inet_pton(AF, peer) + bytes(8))
            buffer = ctypes.create_string_buffer(name, len(name))
            entries[0:64] = struct.pack('=BBHiQQI', 16, 0, 0, s.fileno(), len(name), ctypes.addressof(buffer), 0).ljust(64, b'\0')
            rings[sq[6]:sq[6] + 4] = struct.pack('=I', 0)
            rings[sq[1]:sq[1] + 4] = struct.pack('=I', 1)
            if libc.syscall(426, fd, 1, 1, 1, None, 0) != 1: raise OSError(ctypes.get_errno(), 'io_uring_enter')
            kept.append(buffer)
            s.send(text)

        def segment(text, flags=0x18):
            source = 41000 + sum(text) % 4096
            return struct.pack('!HHIIBBHHH', source, PORT, 1, 1, 0x50, flags, 0xffff, 0, 0) + text

        def raw(text, flags=2, mark=None, cmark=None):
            s = socket.socket(AF, socket.SOCK_RAW, socket.IPPROTO_TCP)
            if mark is not None: s.setsockopt(socket.SOL_SOCKET, MARK, mark)
            marks = [(socket.SOL_SOCKET, MARK, struct.pack('=I', cmark))] if cmark is not None else []
            s.sendmsg([segment(text, flags)], marks, 0, (peer, 0))

        def packet(body, source=None, number=6):
            source, there = socket.inet_pton(AF, source or own), socket.inet_pton(AF, peer)
            if v6: return struct.pack('!IHBB', 6 << 28, len(body), number, 64) + source + there + body
            header = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(body), 7, 0, 64, number, 0) + source + there
            words = sum(struct.unpack('!10H', header))
            words = (words & 0xffff) + (words >> 16)
            return header[:10] + struct.pack('!H', ~(words + (words >> 16)) & 0xffff) + header[12:] + body

        def forged(text, mark=None):
            s = socket.socket(AF, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if mark is not None: s.setsockopt(socket.SOL_SOCKET, MARK, mark)
            s.sendto(packet(segment(text), '2001:db8::7' if v6 else '203.0.113.7'), (peer, 0))

        def frame(text, bypass=False, flags=0x18, body=None, number=6):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind(('eth0', 0))
            if bypass: s.setsockopt(263, 20, 1)
            ethernet = b'\xff' * 6 + b'\x02\0\0\0\0\x09' + (b'\x86\xdd' if v6 else b'\x08\0')
            s.send(ethernet + packet(body or segment(text, flags), number=number))

        def headers(text):
            # Destination options.
            frame(text, body=struct.pack('!BB6B', 6, 0, 1, 4, 0, 0, 0, 0) + segment(text), number=60)

        # A container in the pod with a namespace of its own, which the pod forwards for.
        def nested(text):
            program = ('import socket,sys; print(flush=True); sys.stdin.readline(); s=socket.socket(socket.%s); s.settimeout(0.4); '
                       's.connect((%r,%d)); s.send(%r)' % (AF.name, peer, PORT, text))
            child = subprocess.Popen(['unshare', '-n', sys.executable, '-c', program], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            child.stdout.readline()
            here, there = ('fd99::1', 'fd99::2') if v6 else ('10.99.0.1', '10.99.0.2')
            forwarding = 'net.ipv6.conf.all.forwarding' if v6 else 'net.ipv4.ip_forward'
            os.system(f"""
                ip link add nest type veth peer name eth0 netns {child.pid}; ip link set nest up
                ip addr add {here}/{64 if v6 else 24} dev nest {'nodad' if v6 else ''}; sysctl -qw {forwarding}=1
                nft add table inet nest; nft add chain inet nest out '{{ type nat hook postrouting priority 100; }}'
                nft add rule inet nest out oifname eth0 masquerade
                nsenter -t {child.pid} -n sh -c 'ip link set eth0 up
                    ip addr add {there}/{64 if v6 else 24} dev eth0 {'nodad' if v6 else ''}; ip route add default via {here}'
                """)
            child.communicate(b'.')
            os.system(f'ip link del nest; nft delete table inet nest; sysctl -qw {forwarding}=0')

        zero = '::' if v6 else '0.0.0.0'
        attempts = {
            'plain': tcp,
            'not blocking': without_waiting,
            'connected a second time': lambda t: tcp(t, prepare=reconnect_first),
            'bound to its address': lambda t: tcp(t, bind=(own, 0)),
            'bound to a port': lambda t: tcp(t, bind=(zero, 40123)),
            'bound to the port of tunnels': lambda t: tcp(t, bind=(zero, 15008)),
            'v4 as v6': lambda t: tcp(t, kind=socket.AF_INET6, to=('::ffff:' + peer, PORT)),
            'MPTCP': lambda t: tcp(t, number=262),
            'Fast Open': fast_open,
            'Fast Open at connect': lambda t: tcp(t, prepare=lambda s: s.setsockopt(6, 30, 1)),
            'io_uring': ring,
            'a socket that was handed over': passed,
            'a socket of a parent': executed,
            'foreign mark': lambda t: tcp(t, mark=0x7),
            'mark of the proxy': lambda t: tcp(t, mark=0x539),
            'mark of the proxy with more bits': lambda t: tcp(t, mark=0x20539),
            'mark of the loop': lambda t: tcp(t, mark=0x53a),
            'marks of Istio': lambda t: tcp(t, mark=0x111),
            'mark after connecting': lambda t: tcp(t, after=lambda s: s.setsockopt(socket.SOL_SOCKET, MARK, 0x539)),
            'no mark after connecting': lambda t: tcp(t, after=lambda s: s.setsockopt(socket.SOL_SOCKET, MARK, 0)),
            'bound to its interface': lambda t: tcp(t, device=b'eth0'),
            'mark of the proxy, bound to its interface': lambda t: tcp(t, device=b'eth0', mark=0x539),
            'mark of the loop, bound to its interface': lambda t: tcp(t, device=b'eth0', mark=0x53a),
            'a foreign source': lambda t: tcp(t, prepare=transparent, bind=('2001:db8::7' if v6 else '203.0.113.7', 0)),
            'outbound port of the peer': lambda t: tcp(t, to=(peer, 15001)),
            'inbound port of the peer': lambda t: tcp(t, to=(peer, 15006)),
            'tunnel port of the peer': lambda t: tcp(t, to=(peer, 15008)),
            'own outbound port': lambda t: tcp(t, to=(own, 15001)),
            'own inbound port': lambda t: tcp(t, to=(own, 15006)),
            'raw SYN': raw,
            'raw segment': lambda t: raw(t, 0x18),
            'raw segment, mark of the proxy': lambda t: raw(t, 0x18, mark=0x539),
            'raw SYN, mark of the proxy': lambda t: raw(t, mark=0x539),
            'raw SYN, mark with the message': lambda t: raw(t, cmark=0x539),
            'raw segment of a forged source': forged,
            'raw segment of a forged source, mark of the proxy': lambda t: forged(t, 0x539),
            'frame': frame,
            'frame with a SYN': lambda t: frame(t, flags=2),
            'frame past the queue': lambda t: frame(t, bypass=True),
            'frame with further headers': headers,
            'from a nested namespace': nested,
        }
        for name in names:
            try: attempts[name](('%s%s.' % (prefix, name)).encode())
            except OSError as error: print('%s: %s' % (name, error))
        """#
}
