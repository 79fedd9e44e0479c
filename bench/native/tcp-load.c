// Agents at the dns service over TCP.
//
// --mode reads: each connection keeps --window route requests under way. Prints one line at the end.
//
// --mode watch: each connection asks for --modules modules (connection i for {i, i + 1, …} modulo --spread) and reads what
// comes. Prints a line once all first answers are there. Then, for each line on standard input ("mark N": N connections
// are expected to hear of the next change), it notes the time, and prints how long after it each of them heard, or what
// was missing after 10 s. Ends with its standard input.
//
//   tcp-load --mode reads --port 7778 --connections 32 --window 16 --spread 1000 --milliseconds 5000
//   tcp-load --mode watch --port 7778 --connections 15000 --modules 1 --spread 1
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "measure.h"

#define PATIENCE_NS 10000000000ull

typedef struct {
  int fd, filled, room, in_flight, at, heard;
  uint8_t *in;
} agent;

static int port, connections, window, modules, spread;
static uint64_t frames, bytes;

static void dial(agent *a) {
  struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a->fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(a->fd, (struct sockaddr *)&there, sizeof there) != 0) {
    perror("connect");
    exit(1);
  }
  fcntl(a->fd, F_SETFL, O_NONBLOCK);
}

static void ask(agent *a, int index, int count) {
  uint8_t out[64 * 64];
  int length = 0;
  for (int i = 0; i < count; i++) {
    length += put_get_route(out + length, 1 + (index + a->at++) % spread, 1);
    if (length + 64 < (int)sizeof out && i + 1 < count) continue;
    for (int sent = 0; sent < length;) {
      ssize_t some = send(a->fd, out + sent, (size_t)(length - sent), MSG_NOSIGNAL);
      if (some > 0) sent += (int)some;
      else if (errno != EAGAIN) perror("send"), exit(1);
    }
    length = 0;
  }
  a->in_flight += count;
}

// Reads what is there; returns how many whole frames it held.
static int take(agent *a) {
  int whole = 0;
  for (;;) {
    if (a->filled == a->room) a->in = realloc(a->in, (size_t)(a->room = a->room == 0 ? 512 : a->room * 2));
    ssize_t got = recv(a->fd, a->in + a->filled, (size_t)(a->room - a->filled), 0);
    if (got == 0) fprintf(stderr, "closed by the server\n"), exit(1);
    if (got < 0) break;
    a->filled += (int)got, bytes += (uint64_t)got;
    int at = 0;
    for (int32_t length; a->filled - at >= 8; at += 8 + length) {
      memcpy(&length, a->in + at + 4, 4);
      if (a->filled - at < 8 + length) break;
      whole++, a->in_flight--;
    }
    memmove(a->in, a->in + at, (size_t)(a->filled - at));
    a->filled -= at;
    if (got < a->room - a->filled) break;
  }
  frames += (uint64_t)whole;
  return whole;
}

static void watch(agent *agents, int epoll, struct epoll_event *events) {
  uint64_t wanted = (uint64_t)connections * (uint64_t)modules, started = now_ns();
  while (frames < wanted) {
    int count = epoll_wait(epoll, events, 1024, 1000);
    for (int i = 0; i < count; i++) take(events[i].data.ptr);
    if (now_ns() - started > 6 * PATIENCE_NS) break;
  }
  printf("{\"ready\":%s,\"frames\":%lu,\"bytes\":%lu,\"ms\":%.0f}\n", frames >= wanted ? "true" : "false", frames, bytes,
         (double)(now_ns() - started) / 1e6);
  fflush(stdout);
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input);
  uint64_t marked = 0;
  long expected = 0, heard = 0;
  histogram *latency = calloc(1, sizeof *latency);
  int round = 0;
  for (;;) {
    int count = epoll_wait(epoll, events, 1024, 100);
    for (int i = 0; i < count; i++) {
      agent *a = events[i].data.ptr;
      if (a == NULL) {
        char line[64];
        ssize_t got = read(0, line, sizeof line - 1);
        if (got <= 0) return;
        line[got] = 0;
        expected = atol(line + 5), marked = now_ns(), heard = 0, round++;
        memset(latency, 0, sizeof *latency);
      } else if (take(a) > 0 && a->heard < round && marked != 0) {
        a->heard = round, heard++;
        record(latency, now_ns() - marked);
      }
    }
    if (marked == 0 || (heard < expected && now_ns() - marked < PATIENCE_NS)) continue;
    printf("{\"heard\":%ld,\"expected\":%ld,", heard, expected);
    print_latency(latency);
    printf("}\n");
    fflush(stdout);
    marked = 0;
  }
  (void)agents;
}

int main(int count, char **values) {
  const char *mode = option(count, values, "--mode", "reads");
  port = (int)number(count, values, "--port", 7778);
  connections = (int)number(count, values, "--connections", 32);
  window = (int)number(count, values, "--window", 16);
  modules = (int)number(count, values, "--modules", 1);
  spread = (int)number(count, values, "--spread", 1);
  double seconds = (double)number(count, values, "--milliseconds", 5000) / 1000;
  struct rlimit limit = {(rlim_t)connections + 64, (rlim_t)connections + 64};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && connections > 1000) perror("setrlimit");
  int epoll = epoll_create1(0), watching = strcmp(mode, "watch") == 0;
  agent *agents = calloc((size_t)connections, sizeof *agents);
  static struct epoll_event events[1024];
  for (int i = 0; i < connections; i++) {
    dial(&agents[i]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &agents[i]};
    epoll_ctl(epoll, EPOLL_CTL_ADD, agents[i].fd, &event);
  }
  for (int i = 0; i < connections; i++) ask(&agents[i], i, watching ? modules : window);
  if (watching) {
    watch(agents, epoll, events);
    return 0;
  }
  uint64_t started = now_ns(), end = started + (uint64_t)(seconds * 1e9);
  while (now_ns() < end) {
    int ready = epoll_wait(epoll, events, 1024, 50);
    for (int i = 0; i < ready; i++) {
      agent *a = events[i].data.ptr;
      int whole = take(a);
      if (whole > 0) ask(a, (int)(a - agents), whole);
    }
  }
  printf("{\"perSecond\":%.0f,\"frames\":%lu,\"bytes\":%lu,\"ownCpuUs\":%.0f}\n", (double)frames / seconds, frames, bytes,
         own_cpu_us());
}
