"""The command line of both examples: pick a host, report how the call went, again and again, and count.

No call is made in between. A host named by --fail is reported as failed, so that the balancing can be watched.
"""

import argparse
import collections
import json
import sys
import time


def main(doc, connect, default_port, no_host, no_answer):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default=f"127.0.0.1:{default_port}", help="host:port (over UDP of the first shard)")
    parser.add_argument("--module", action="append", required=True, help="modid.cmdid, or @file with one a line; repeatable")
    parser.add_argument("--calls", type=int, default=1000, help="pairs of a pick and a report, in turn over the modules")
    parser.add_argument("--fail", action="append", default=[], help="ip:port, or @file with lines 'modid.cmdid ip:port'; repeatable")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    options = parser.parse_args()
    try:
        host, _, port = options.agent.rpartition(":")
        client = connect(host, int(port))
        modules = [_module(line) for line in _lines(options.module)]
        failing = set(_lines(options.fail))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if not modules or options.calls < 1:
        parser.error("expected at least one module and one call")

    answers, hosts, nanoseconds = collections.Counter(), {}, []
    timeouts = unreported = 0
    began = time.perf_counter()
    for i in range(options.calls):
        modid, cmdid = modules[i % len(modules)]
        asked = time.perf_counter_ns()
        try:
            ip, port = client.get_host(modid, cmdid)
        except no_host as error:
            answers[str(error.retcode)] += 1
            continue
        except no_answer:
            timeouts += 1
            continue
        finally:
            nanoseconds.append(time.perf_counter_ns() - asked)
        answers["0"] += 1
        endpoint = f"{ip}:{port}"
        named = f"{modid}.{cmdid} {endpoint}"
        failed = endpoint in failing or named in failing
        try:
            client.report(modid, cmdid, ip, port, 1 if failed else 0)
        except no_answer:
            unreported += 1
            continue
        hosts.setdefault(named, {"ok": 0, "failed": 0})["failed" if failed else "ok"] += 1
    seconds = time.perf_counter() - began
    client.close()

    nanoseconds.sort()
    p50, p99 = (round(nanoseconds[len(nanoseconds) * percent // 100] / 1000, 1) for percent in (50, 99))
    if options.json:
        counts = {"picks": options.calls, "answers": answers, "timeouts": timeouts, "unreported": unreported, "hosts": hosts}
        print(json.dumps({**counts, "seconds": round(seconds, 3), "p50Us": p50, "p99Us": p99}))
    else:
        print(f"{options.calls} picks in {seconds:.2f} s ({options.calls / seconds:.0f}/s), p50 {p50} us, p99 {p99} us")
        for retcode, count in sorted(answers.items()):
            print(f"  return code {retcode}: {count}")
        if timeouts:
            print(f"  not answered: {timeouts}")
        if unreported:
            print(f"  reports not taken: {unreported}")
        for named, counts in sorted(hosts.items()):
            print(f"  {named}: {counts['ok']} ok, {counts['failed']} failed")
    if timeouts == options.calls:
        sys.exit(f"no agent answered at {options.agent}")


def _lines(values):
    """The values; for one that begins with @, the lines of that file that are not empty and no # comment."""
    for value in values:
        if not value.startswith("@"):
            yield value
            continue
        with open(value[1:], encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip() and not line.startswith("#"))


def _module(text):
    modid, dot, cmdid = text.partition(".")
    if not dot:
        raise ValueError(f"module is {text!r}; expected modid.cmdid")
    return int(modid), int(cmdid)
