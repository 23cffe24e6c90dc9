"""The agent's proxy beside nginx with a fixed token, on the same TLS service, and the agent's tokens beside
nginx with a fixed answer, on unix sockets. Each pair is run in turn; ratios are of medians. nginx against
itself shows how much the machine varies."""

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

from table import no_more_than, print_row

ROUNDS = 5
SECONDS = os.environ.get("PG_BENCH_SECONDS", "3")
LOAD = Path("build/benches/load")
AGENT = Path("build/paymentsgate-auth")
SERVICE = os.environ["PAYMENTSGATE_BASE_URL"]

NGINX = """
daemon off;
worker_processes 2;
pid {folder}/{name}.pid;
error_log {folder}/{name}.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
    scgi_temp_path {folder}/{name}-scgi;
    keepalive_requests 100000000;
    {content}
}}
"""
# The service: one answer for every path, and the emulator for the tokens.
UPSTREAM = """
    server {{
        listen 127.0.0.1:{port} ssl {protocol};
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        location /auth/ {{ proxy_pass {service}; proxy_ssl_verify off; }}
        location / {{ default_type application/json; return 200 '{{"balance": "{padding}"}}'; }}
    }}
"""
FIXED = """
    server {{
        listen unix:{folder}/fixed-{port}.sock;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
    upstream service {{ server 127.0.0.1:{port}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{own};
        location / {{
            proxy_pass https://service;
            proxy_http_version 1.1;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {folder}/cert.pem;
            proxy_ssl_name localhost;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {token}";
        }}
    }}
"""


def start_nginx(folder: Path, name: str, content: str, port: int) -> subprocess.Popen[bytes]:
    path = folder / f"{name}.conf"
    path.write_text(NGINX.format(folder=folder, name=name, content=content))
    started = subprocess.Popen(["nginx", "-c", path, "-p", folder], stderr=subprocess.DEVNULL)
    wait(port)
    return started


def wait(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def load(place: str, connections: int) -> list[float]:
    words = [str(LOAD), place, SECONDS, str(connections)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def compare(what: str, ours: str, theirs: str, connections: int, has_goals: bool) -> None:
    rows: dict[str, list[list[float]]] = {"ours": [], "theirs": [], "again": []}
    for _ in range(ROUNDS):
        rows["ours"].append(load(ours, connections))
        rows["theirs"].append(load(theirs, connections))
        rows["again"].append(load(theirs, connections))
    of = {name: [median(row[column] for row in each) for column in range(3)] for name, each in rows.items()}
    for column, (name, unit) in enumerate((("rate", "/s"), ("p50", "us"), ("p99", "us"))):
        label = f"{what}, {connections} connection{'s' if connections > 1 else ''}: {name}"
        ours, theirs, again = (of[each][column] for each in ("ours", "theirs", "again"))
        # Half of the rate, and 100 us more for the median.
        goal = {"rate": 2, "p50": no_more_than(theirs, 100)}.get(name, 0) if has_goals else 0
        print_row(label, "nginx", unit, ours, theirs, again, goal)


def make_certificate(folder: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    words += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(words, check=True, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificate(folder)
        started = []
        try:
            for protocol, word, port in (("HTTP/1.1", "", 18443), ("HTTP/2", "http2", 18444)):
                content = UPSTREAM.format(
                    port=port, folder=folder, protocol=word, service=SERVICE, padding="1" * 400
                )
                started.append(start_nginx(folder, f"service-{port}", content, port))
                bench(folder, protocol, port, started)
        finally:
            for program in reversed(started):
                program.terminate()
                program.wait()


def bench(folder: Path, protocol: str, port: int, started: list[subprocess.Popen[bytes]]) -> None:
    proxy, tokens, own = port + 10, port + 20, port + 30
    environment = os.environ | {
        "PAYMENTSGATE_BASE_URL": f"https://localhost:{port}",
        "PAYMENTSGATE_TLS_CA_FILE": str(folder / "cert.pem"),
        "PAYMENTSGATE_STORE": "memory:",
    }
    tokens_socket = folder / f"agent-{port}.sock"
    secret = folder / f"secret-{port}"
    words = [str(AGENT), "agent", "--socket", str(tokens_socket), "--proxy", f"127.0.0.1:{proxy}"]
    words += ["--listen", f"127.0.0.1:{tokens}", "--secret-file", str(secret)]
    started.append(subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL))
    wait(proxy)
    # Written after the sockets are there.
    while not secret.exists() or not secret.read_text():
        time.sleep(0.02)
    request = urllib.request.Request(f"http://127.0.0.1:{tokens}/v1/token")
    request.add_header("Authorization", f"Bearer {secret.read_text()}")
    with urllib.request.urlopen(request) as answered:
        answer = answered.read().decode()
    token = json.loads(answer)["access_token"]
    content = FIXED.format(port=port, own=own, folder=folder, token=token, answer=answer)
    started.append(start_nginx(folder, f"fixed-{port}", content, own))
    for connections in (1, 64):
        places = (f"tcp:{proxy}/wallet", f"tcp:{own}/wallet")
        compare(f"proxy, {protocol} to the service", *places, connections, True)
    if protocol == "HTTP/1.1":
        for connections in (1, 64):
            places = (f"unix:{tokens_socket}:/v1/token", f"unix:{folder}/fixed-{port}.sock:/v1/token")
            compare("tokens from the socket, beside a fixed answer", *places, connections, False)


main()
