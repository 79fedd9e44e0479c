"""A Lars caller over UDP, with Python's standard library only: copy the class, or this file.

Before every call of a service ask the agent on this machine which host to call, and afterwards tell it how the call
went. A question and its answer are one datagram each, so either can be lost: the question is asked again after a while,
and an answer is ours only when it carries our number (an answer that comes too late is left over for the next call).
Reports are not answered; a lost one costs the statistics one call.

A client object is for one thread; make one per thread.

From the command line it makes calls that are not really made, to try an agent:
    python3 lars_udp.py --agent 127.0.0.1:8888 --module 1.1 --calls 1000 --fail 127.0.0.1:9001
"""

import random
import socket
import struct
import time

GET_HOST_REQUEST, GET_HOST_RESPONSE, REPORT_REQUEST = 4, 5, 6
SHARDS = 3  # part of the protocol: the module says which of the agent's ports to ask


class NoHost(Exception):
    """The agent answered that there is no host to call now."""

    MEANINGS = {1: "every host is overloaded, do not call now", 2: "the agent failed", 3: "no such module, or not yet known"}

    def __init__(self, modid, cmdid, retcode):
        super().__init__(f"module {modid}.{cmdid}: {self.MEANINGS.get(retcode, 'unknown return code')} ({retcode})")
        self.retcode = retcode


class NoAnswer(Exception):
    """The agent did not answer: it is not running, or every datagram was lost."""


class LarsUdp:
    def __init__(self, host="127.0.0.1", port=8888, timeout=0.5, retries=2):
        """`port` is the first of three in a row. `timeout`: seconds to wait for an answer before asking again."""
        self._timeout, self._retries = timeout, retries
        self._seq = random.getrandbits(32)
        self._sockets = []
        for shard in range(SHARDS):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect((host, port + shard))  # so that only this port's answers come in, and a dead agent is noticed
            self._sockets.append(sock)

    def close(self):
        for sock in self._sockets:
            sock.close()

    def get_host(self, modid, cmdid):
        """Returns ("10.0.0.1", 80). Raises NoHost, NoAnswer."""
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        body = _field(1, self._seq) + _field(2, _int32(modid)) + _field(3, _int32(cmdid))
        sock = self._socket_of(modid, cmdid)
        for _ in range(1 + self._retries):
            _send(sock, _frame(GET_HOST_REQUEST, body))
            answer = self._answer(sock, time.monotonic() + self._timeout)
            if answer is None:
                continue
            retcode = _int32(answer.get(4, 0))
            if retcode != 0:
                raise NoHost(modid, cmdid, retcode)
            host = _fields(answer.get(5, b""))
            return socket.inet_ntoa(struct.pack(">i", _int32(host.get(1, 0)))), host.get(2, 0)
        raise NoAnswer(f"module {modid}.{cmdid}: the agent did not answer {1 + self._retries} times in {self._timeout} s")

    def report(self, modid, cmdid, ip, port, retcode=0, latency_us=0):
        """`retcode` 0: the call succeeded; anything else: it failed. `latency_us`: what it took, 0 for not measured."""
        (address,) = struct.unpack(">i", socket.inet_aton(ip))
        host = _field(1, address) + _field(2, port)
        body = _field(1, _int32(modid)) + _field(2, _int32(cmdid)) + _field(3, host)
        body += _field(4, _int32(retcode)) + _field(16, latency_us)
        try:
            _send(self._socket_of(modid, cmdid), _frame(REPORT_REQUEST, body))
        except ConnectionRefusedError:
            pass  # no agent: nobody to tell

    def _socket_of(self, modid, cmdid):
        # Deployed clients take the remainder of a C int; a negative one leaves its port open, and ours is the owner's.
        return self._sockets[_int32(modid + cmdid) % SHARDS]

    def _answer(self, sock, deadline):
        """The fields of the answer that carries our number, or None when the time is up."""
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                datagram = sock.recv(65535)
            except TimeoutError:
                return None
            except ConnectionRefusedError:
                time.sleep(left)  # no agent at the moment: it may be starting again
                return None
            try:
                msgid, length = struct.unpack_from("<ii", datagram)
                answer = _fields(datagram[8:]) if length == len(datagram) - 8 else {}
            except (ValueError, struct.error):
                continue
            if msgid == GET_HOST_RESPONSE and answer.get(1, 0) == self._seq:
                return answer
        return None


def _send(sock, datagram):
    try:
        sock.send(datagram)
    except ConnectionRefusedError:
        sock.send(datagram)  # the refusal was of an earlier datagram, and this one has not left


# The wire: an 8-byte header (message id, length of the rest) and protobuf fields, all numbers as varints.


def _frame(msgid, body):
    return struct.pack("<ii", msgid, len(body)) + body


def _field(number, value):
    """A field of an integer (signed 32 bits, or unsigned) or of bytes. Zero is not sent."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return b"" if value == 0 else _varint(number << 3) + _varint(value)


def _varint(value):
    value &= 0xFFFF_FFFF_FFFF_FFFF  # a negative number is sent as 64 bits: ten bytes
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _fields(body):
    """The fields by number; those of later protocol versions are among them and nobody asks for them."""
    fields, at = {}, 0
    while at < len(body):
        tag, at = _read_varint(body, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(body, at)
        elif kind == 2:
            length, at = _read_varint(body, at)
            value, at = body[at : at + length], at + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, at = body[at : at + length], at + length
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(body):
            raise ValueError("a field ends after its message")
        fields[tag >> 3] = value
    return fields


def _read_varint(body, at):
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            raise ValueError("a number ends after its message")
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _int32(value):
    """The signed spelling of 32 bits: module numbers above 2147483647 and IPs from 128.0.0.0 up are negative."""
    value &= 0xFFFF_FFFF
    return value - 0x1_0000_0000 if value >= 0x8000_0000 else value


if __name__ == "__main__":
    import call_loop

    call_loop.main(__doc__, LarsUdp, 8888, NoHost, NoAnswer)
