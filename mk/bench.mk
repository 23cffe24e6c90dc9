# Ratios of things that are run in turn; nothing here passes or fails.

BENCHES := bench-read bench-network bench-request bench-sessions bench-storm bench-store bench-python bench-go bench-agent
.PHONY: bench $(BENCHES)

$(BENCHES): export PG_SANDBOX := $(RELEASE_SANDBOX)
# `$(call rows,SECTION) COMMAND`: prints the rows of a benchmark and keeps them.
rows = @benches/table.py run '$(1)' scripts/with-sandbox

bench: ## All benchmarks, against C, libcurl, Go, authlib, oauth2 and nginx; writes docs/benchmarks.md
	@rm -f build/benches/rows.tsv
	@$(MAKE) --no-print-directory $(BENCHES)
	@benches/table.py page

BENCH_CC = @mkdir -p $(@D) && $(CC) -std=c11 -O2 $(WARNINGS) -pthread -o $@ $(filter %.c,$^)
ON_ONE   := build/benches/read_path build/benches/copies build/benches/sessions build/benches/first_pg build/benches/crowd_pg \
    build/benches/request_pg
ON_BOTH  := build/benches/refresh build/benches/storm
ON_CURL  := build/benches/first_curl build/benches/crowd_curl build/benches/request_curl

$(ON_ONE) $(ON_BOTH) $(ON_CURL): $(wildcard benches/*.h) $(HEADERS) | $(STAGED) $(RELEASE_SANDBOX)
build/benches/read_path: benches/read_path.c
build/benches/copies: benches/copies.c
build/benches/sessions: benches/sessions.c
build/benches/storm: benches/storm.c
build/benches/refresh: benches/refresh.c benches/way_pg.c benches/way_curl.c
build/benches/first_pg: benches/first.c benches/way_pg.c
build/benches/first_curl: benches/first.c benches/way_curl.c
build/benches/crowd_pg: benches/crowd_pg.c benches/way_pg.c
build/benches/crowd_curl: benches/crowd_curl.c benches/way_curl.c
build/benches/request_pg: benches/request.c benches/request_pg.c
build/benches/request_curl: benches/request.c benches/request_curl.c benches/way_curl.c
$(ON_ONE):
	$(BENCH_CC) -DWAY=pg_way $(LINK)
$(ON_BOTH):
	$(BENCH_CC) $(LINK) $(CURL)
$(ON_CURL):
	$(BENCH_CC) -DWAY=curl_way $(CURL)

# Instructions too, which no other program disturbs.
bench-read: build/benches/read_path build/benches/copies ## The read path, beside the least that C could do
	@for bytes in 0 700; do \
	    export PG_SANDBOX_OPTIONS="--switch access_token_bytes=$$bytes"; \
	    benches/table.py run Reads scripts/with-sandbox build/benches/read_path && \
	    benches/table.py run Reads scripts/with-sandbox benches/instructions.sh build/benches/copies || exit 1; \
	done

bench-network: $(addprefix build/benches/,refresh first_pg first_curl crowd_pg crowd_curl) ## Bare refreshes, beside libcurl
	$(call rows,Refreshes) build/benches/refresh
	$(call rows,Refreshes) python3 benches/processes.py

# 1, 8 and 64 threads; PG_BENCH_ROUNDS=2 for a first look, PG_BENCH_PROCESSES=2 for the threads of each program in two processes.
bench-request: $(addprefix build/benches/,request_pg request_curl go_request) ## Requests with a token, beside libcurl and Go's net/http
	$(call rows,Requests) python3 benches/request_ways.py

bench-sessions: build/benches/sessions ## 100,000 idle sessions
	$(call rows,Sessions) $<

bench-storm: build/benches/storm ## 1,000 threads at an expired token
	$(call rows,Sessions) $<

bench-store: setup ## A refresh on each shared store, and 40 processes at an expired token
	@benches/table.py run Stores env $(RELEASE) bench --package paymentsgate-auth --bench store

bench-python: $(STAGED) $(RELEASE_SANDBOX) build/venv-bench/ready ## A token in Python, beside authlib
	$(call rows,Languages) env PYTHONPATH=bindings/python/src build/venv-bench/bin/python benches/python_token.py

bench-go: $(STAGED) $(RELEASE_SANDBOX) ## A token in Go, beside golang.org/x/oauth2
	cd benches/go_token && go build -o $(CURDIR)/build/benches/go_token .
	$(call rows,Languages) build/benches/go_token

build/benches/go_request: $(call files,benches/go_request)
	cd benches/go_request && go build -o $(CURDIR)/$@ .

build/benches/load: benches/load.c benches/measure.h
	$(BENCH_CC)

# On the ports 18443 to 18474.
bench-agent: build/benches/load $(COMMAND) $(RELEASE_SANDBOX) ## The agent's proxy, beside nginx with a fixed token
	@scripts/setup bench
	$(call rows,The agent) python3 benches/agent.py
