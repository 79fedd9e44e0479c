"""A Lars caller over HTTP, with Python's standard library only: copy the class, or this file.

For programs that cannot or would rather not speak the UDP protocol. The same agent answers from the same routes, so both
kinds of callers are balanced together. One connection is kept open and used again; the agent closes one that is idle for
long, which the next request notices and opens another.

A client object is for one thread; make one per thread.

From the command line it makes calls that are not really made, to try an agent:
    python3 lars_http.py --agent 127.0.0.1:8880 --module 1.1 --calls 1000 --fail 127.0.0.1:9001
"""

import http.client
import json


class NoHost(Exception):
    """The agent answered that there is no host to call now. `retcode` is what it would have said over UDP."""

    def __init__(self, retcode, detail):
        super().__init__(detail)
        self.retcode = retcode


class NoAnswer(Exception):
    """The agent was not reached, or its answer is not one of an agent."""


class LarsHttp:
    def __init__(self, host="127.0.0.1", port=8880, timeout=2.0):
        """`timeout`: seconds to wait for a connection, and for an answer."""
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def close(self):
        self._connection.close()

    def get_host(self, modid, cmdid):
        """Returns ("10.0.0.1", 80). Raises NoHost, NoAnswer."""
        status, answer = self._request("GET", f"/v1/hosts/{modid}/{cmdid}")
        if status == 200:
            return answer["ip"], answer["port"]
        if status == 404:
            raise NoHost(3, answer["detail"])
        if status == 503:  # every host is overloaded, or the route has not come yet: Retry-After says when to ask again
            raise NoHost(1, answer["detail"])
        raise NoAnswer(f"the agent answered {status}: {answer}")

    def report(self, modid, cmdid, ip, port, retcode=0, latency_us=0):
        """`retcode` 0: the call succeeded; anything else: it failed. `latency_us`: what it took, 0 for not measured."""
        report = {"modid": modid, "cmdid": cmdid, "ip": ip, "port": port, "retcode": retcode, "latencyUs": latency_us}
        status, answer = self._request("POST", "/v1/reports", json.dumps(report).encode())
        if status != 204:
            raise NoAnswer(f"the agent answered {status}: {answer}")

    def _request(self, method, path, body=None):
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection = self._connection
        kept = connection.sock is not None
        try:
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
                if not kept:
                    raise
                connection.request(method, path, body, headers)  # the agent had closed the connection we kept
                response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise NoAnswer(f"{method} {path}: {error}") from error


if __name__ == "__main__":
    import call_loop

    call_loop.main(__doc__, LarsHttp, 8880, NoHost, NoAnswer)
