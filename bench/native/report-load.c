// Agents that send statistics: each connection is an agent instance of its own, whose totals for --modules modules of
// --hosts hosts grow with every frame. A row is one host in one frame. Frames leave at their times (--rate rows a second
// over all connections); what the service does not take in time is late, never dropped, and the wait is printed. At the
// end every total is sent once more, and the connections stay open for --linger milliseconds so that nothing is cut off.
// With --once 1 neither is done: an agent ends when it has told what it has, and a row that is not taken is lost.
//
//   report-load --port 7779 --connections 8 --rate 150000 --modules 100 --hosts 10 --milliseconds 10000 --linger 2000
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "measure.h"

#define FRAME_BYTES 65536
#define ADDRESS 0x0a000001u

typedef struct {
  int fd;
  uint64_t instance, seq;
  uint32_t caller, *totals;
} agent;

static int modules, hosts, first;

static int put_status(uint8_t *out, agent *a, int module, int grow, uint32_t seconds) {
  int n = 8;
  n += put_field(out + n, 1, (uint64_t)(first + module));
  n += put_field(out + n, 2, 1);
  n += put_field(out + n, 3, (uint64_t)(int64_t)(int32_t)a->caller);
  for (int host = 0; host < hosts; host++) {
    uint32_t *total = &a->totals[module * hosts + host];
    *total += (uint32_t)grow;
    uint8_t result[48];
    int size = put_field(result, 1, (uint64_t)(int64_t)(int32_t)(ADDRESS + (uint32_t)host));
    size += put_field(result + size, 2, 7000);
    size += put_field(result + size, 3, *total);
    size += put_field(result + size, 4, *total / 100);
    n += put_varint(out + n, 4 << 3 | 2);
    n += put_varint(out + n, (uint64_t)size);
    memcpy(out + n, result, (size_t)size);
    n += size;
  }
  n += put_field(out + n, 5, seconds);
  n += put_field(out + n, 16, a->instance);
  n += put_field(out + n, 17, ++a->seq);
  return seal(out, 3, n);
}

static void push(agent *a, const uint8_t *bytes, int length) {
  for (int sent = 0; sent < length;) {
    ssize_t some = send(a->fd, bytes + sent, (size_t)(length - sent), MSG_NOSIGNAL);
    if (some > 0) sent += (int)some;
    else if (errno != EINTR) perror("send"), exit(1);
  }
}

int main(int count, char **values) {
  int port = (int)number(count, values, "--port", 7779), connections = (int)number(count, values, "--connections", 8);
  double rate = (double)number(count, values, "--rate", 150000);
  double seconds = (double)number(count, values, "--milliseconds", 5000) / 1000;
  int once = (int)number(count, values, "--once", 0);
  long linger = number(count, values, "--linger", 1000);
  modules = (int)number(count, values, "--modules", 100);
  hosts = (int)number(count, values, "--hosts", 10);
  first = (int)number(count, values, "--first", 1);
  if (hosts < 1 || hosts > 1000 || connections < 1 || modules < 1) {
    fprintf(stderr, "allowed: --hosts 1..1000, at least one connection and module\n");
    return 2;
  }
  agent *agents = calloc((size_t)connections, sizeof *agents);
  for (int i = 0; i < connections; i++) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    agent *a = &agents[i];
    a->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(a->fd, (struct sockaddr *)&there, sizeof there) != 0) perror("connect"), exit(1);
    a->instance = now_ns() * 1000 + (uint64_t)i;
    a->caller = 0x0b000000u + (uint32_t)i;
    a->totals = calloc((size_t)(modules * hosts), sizeof *a->totals);
  }
  static uint8_t frame[FRAME_BYTES];
  histogram *late = calloc(1, sizeof *late);
  uint64_t started = now_ns(), end = started + (uint64_t)(seconds * 1e9), rows = 0, grown = 0;
  double gap = 1e9 * hosts / rate, next = (double)started;
  long turn = 0;
  for (uint64_t now = started; now < end; now = now_ns()) {
    if (next > (double)now) {
      double left = next - (double)now;
      struct timespec wait = {0, left > 1e6 ? 1000000 : (long)left};
      nanosleep(&wait, NULL);
      continue;
    }
    agent *a = &agents[turn % connections];
    int length = put_status(frame, a, (int)(turn / connections % modules), 3, (uint32_t)time(NULL));
    push(a, frame, length);
    record(late, now_ns() - (uint64_t)next);
    rows += (uint64_t)hosts, grown += 3ull * (uint64_t)hosts, turn++;
    next += gap;
  }
  double took = (double)(now_ns() - started) / 1e9;
  for (int i = 0; !once && i < connections; i++)
    for (int module = 0; module < modules; module++)
      push(&agents[i], frame, put_status(frame, &agents[i], module, 0, (uint32_t)time(NULL)));
  if (once) linger = 0;
  struct timespec wait = {linger / 1000, linger % 1000 * 1000000};
  nanosleep(&wait, NULL);
  printf("{\"perSecond\":%.0f,\"rows\":%lu,\"succ\":%lu,", (double)rows / took, rows, grown);
  print_latency(late);
  printf("}\n");
}
