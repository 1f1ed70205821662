import CNI
import Glibc

// Alone, and linked without any shared library: it runs in the node's own file system, whatever that has, once for every pod that starts.
umask(0o077)
exit(CNIPlugin.run())
