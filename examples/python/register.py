#!/usr/bin/env python3
"""A service that registers itself at the Lars agent of its machine, and leaves in order. Standard library only.

    python3 examples/python/register.py --module 1.1 --port 9001

Serves HTTP, registers when it listens (the agent checks /healthz and keeps the lease), and on SIGTERM or Ctrl-C asks the
agent to take it out: once that is answered no caller is sent here any more, and only then it stops serving.
"""

import argparse
import http.client
import http.server
import json
import signal
import socket
import threading


class Registration:
    """One registration at an agent. `id` must be this process's own among all machines."""

    def __init__(self, agent, id):
        self.agent = agent
        self.path = f"/v1/registrations/{id}"

    def register(self, modid, cmdid, ip, port, ttl_seconds=30, **check):
        """Returns what the agent says: registered (200) or kept and registered as soon as possible (202)."""
        body = {"modid": modid, "cmdid": cmdid, "ip": ip, "port": port, "ttlSeconds": ttl_seconds, **check}
        return self._call("PUT", body, timeout=10)

    def leave(self, timeout=60):
        """Returns when no caller is sent here any more. Without an agent there is nobody to wait for."""
        return self._call("DELETE", None, timeout)

    def _call(self, method, body, timeout):
        connection = http.client.HTTPConnection(self.agent, timeout=timeout)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, self.path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status >= 400:
                raise RuntimeError(f"{response.status}: {answer.get('detail')}")
            return response.status, answer
        finally:
            connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="127.0.0.1:8880", help="host:port of the agent's HTTP")
    parser.add_argument("--module", required=True, help="modid.cmdid")
    parser.add_argument("--ip", default="127.0.0.1", help="where callers reach this service")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()
    modid, cmdid = map(int, options.module.split("."))

    server = http.server.ThreadingHTTPServer((options.ip, options.port), Handler)
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    registration = Registration(options.agent, f"example@{socket.gethostname()}:{port}")
    status, answer = registration.register(
        modid, cmdid, options.ip, port, check={"http": "/healthz"}, intervalSeconds=1, timeoutSeconds=0.5
    )
    print(f"serving on {options.ip}:{port};", "registered" if status == 200 else answer["status"], flush=True)
    ended.wait()
    try:
        registration.leave()
        print("left: no caller is sent here any more", flush=True)
    except (OSError, RuntimeError) as error:
        print(f"the agent did not answer ({error}); its check takes this service out", flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
