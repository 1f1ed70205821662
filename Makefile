# Culvert's verbs. `make demo` and `make test` each take a bare Debian 12 with Swift 6.3 all the way.

PACKAGES := pkg-config libssl-dev libnghttp2-dev libsqlite3-dev zlib1g-dev nftables iproute2 openssl nghttp2-client python3-h2 curl
# What the proto compiler wrote is not ours to format.
FORMATTED = $(shell git ls-files '*.swift' | grep -v '/Generated/')

.PHONY: deps build demo test fmt check-fmt lint bench clean

deps:
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^installed ' || true); \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

build: deps
	swift build -c release --product culvert

demo: build
	.build/release/culvert demo

test: deps
	swift build --build-tests
	# In turn: many of them keep both cores, a network namespace or the demo to themselves.
	swift test --skip-build --no-parallel --disable-xctest

fmt:
	@swift format format --in-place --parallel $(FORMATTED)

check-fmt:
	@swift format lint --strict --parallel $(FORMATTED)

# The compiler's warnings are errors already; this adds what it does not look at.
lint:
	@! git grep -nE '\b(FIXME|XXX|TODO)\b' -- Sources Tests deploy docs 2>/dev/null || (echo 'lint: unfinished work is marked above' && false)
	@! git ls-files Sources | xargs wc -l | awk '$$2 != "total" && $$1 > 500 && $$2 !~ /Generated/ { print; bad = 1 } END { exit !bad }' \
		|| (echo 'lint: past 500 lines there is a second concept' && false)

bench:
	@echo 'make bench: the benchmark comes with the data plane issue; there is nothing to run yet.' && false

clean:
	swift package clean
