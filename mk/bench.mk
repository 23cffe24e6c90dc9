# Ratios of things that are run in turn; nothing here passes or fails.

.PHONY: bench bench-agent bench-read bench-network bench-sessions bench-storm bench-store bench-python bench-go

bench-read bench-network bench-sessions bench-storm bench-python bench-go bench-agent: export PG_SANDBOX := $(RELEASE_SANDBOX)

bench: bench-read bench-network bench-sessions bench-storm bench-store bench-python bench-go bench-agent ## Against libcurl, authlib, oauth2 and nginx, and the read path against C

BENCH_CC = @mkdir -p $(@D) && $(CC) -std=c11 -O2 $(WARNINGS) -pthread -o $@ $(filter %.c,$^)
ON_ONE   := build/benches/read_path build/benches/copies build/benches/sessions build/benches/first_pg build/benches/crowd_pg
ON_BOTH  := build/benches/refresh build/benches/storm

$(ON_ONE) $(ON_BOTH) build/benches/first_curl build/benches/crowd_curl: $(wildcard benches/*.h) $(HEADERS) | $(STAGED) $(RELEASE_SANDBOX)
build/benches/read_path: benches/read_path.c
build/benches/copies: benches/copies.c
build/benches/sessions: benches/sessions.c
build/benches/storm: benches/storm.c
build/benches/refresh: benches/refresh.c benches/way_pg.c benches/way_curl.c
build/benches/first_pg: benches/first.c benches/way_pg.c
build/benches/first_curl: benches/first.c benches/way_curl.c
build/benches/crowd_pg: benches/crowd_pg.c benches/way_pg.c
build/benches/crowd_curl: benches/crowd_curl.c benches/way_curl.c
$(ON_ONE):
	$(BENCH_CC) -DWAY=pg_way $(LINK) -lm
$(ON_BOTH):
	$(BENCH_CC) $(LINK) $(CURL)
build/benches/first_curl build/benches/crowd_curl:
	$(BENCH_CC) -DWAY=curl_way $(CURL)

# Instructions too, which no other program disturbs.
bench-read: build/benches/read_path build/benches/copies ## The read path, beside the least that C could do
	@for bytes in 0 700; do \
	    PG_SANDBOX_OPTIONS="--switch access_token_bytes=$$bytes" scripts/with-sandbox build/benches/read_path; \
	    PG_SANDBOX_OPTIONS="--switch access_token_bytes=$$bytes" \
	        scripts/with-sandbox benches/instructions.sh build/benches/copies; \
	done

bench-network: $(addprefix build/benches/,refresh first_pg first_curl crowd_pg crowd_curl) ## Bare refreshes, beside libcurl
	@scripts/with-sandbox build/benches/refresh
	@scripts/with-sandbox python3 benches/processes.py

bench-sessions: build/benches/sessions ## 100,000 idle sessions
	@scripts/with-sandbox $<

bench-storm: build/benches/storm ## 1,000 threads at an expired token
	@scripts/with-sandbox $<

bench-store: setup ## A refresh on each shared store, and 40 processes at an expired token
	@$(RELEASE) bench --package paymentsgate-auth --bench store

bench-python: $(STAGED) $(RELEASE_SANDBOX) build/venv-bench/ready ## A token in Python, beside authlib
	@PYTHONPATH=bindings/python/src scripts/with-sandbox build/venv-bench/bin/python benches/python_token.py

bench-go: $(STAGED) $(RELEASE_SANDBOX) ## A token in Go, beside golang.org/x/oauth2
	@mkdir -p build/benches
	cd benches/go_token && go build -o $(CURDIR)/build/benches/go_token .
	@scripts/with-sandbox build/benches/go_token

build/benches/load: benches/load.c benches/measure.h
	$(BENCH_CC)

# On the ports 18443 to 18474.
bench-agent: build/benches/load $(COMMAND) $(RELEASE_SANDBOX) ## The agent's proxy, beside nginx with a fixed token
	@scripts/setup bench
	@scripts/with-sandbox python3 benches/agent.py
