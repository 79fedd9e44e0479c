// Callers over HTTP: so many connections that are kept alive, one request at a time on each, as fast as they are answered
// or (--rate) when they are due. {n} in the path and the body counts from 0 up to --count and begins again, and {m} is
// one of 1 to --modules by that; so callers ask for different modules, register different hosts of some of them.
//
//   http-load --port 8880 --connections 32 --threads 1 --milliseconds 5000 --path /v1/hosts/{n}/1 --count 60
//   optional: --method PUT --body '{"port":{n}}' --header 'Authorization: Bearer x' --first 1 --rate 1000
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "measure.h"

#define REQUEST_BYTES 4096
#define ANSWER_BYTES 65536

static int port, connections, threads;
static long first, modulus, modules;
static double seconds, rate;
static const char *method, *path, *body, *header;
static atomic_long counter;

typedef struct {
  int fd, got, busy;
  uint64_t due;
  char in[ANSWER_BYTES];
} connection;

typedef struct {
  int id;
  uint64_t answered, status[6], errors;
  histogram latency;
} worker;

static int fill(char *out, const char *text, long n) {
  char *at = out;
  for (; *text != 0; text++) {
    if (strncmp(text, "{n}", 3) == 0) at += sprintf(at, "%ld", n), text += 2;
    else if (strncmp(text, "{m}", 3) == 0) at += sprintf(at, "%ld", 1 + n % modules), text += 2;
    else *at++ = *text;
  }
  *at = 0;
  return (int)(at - out);
}

static void dial(connection *c, int epoll) {
  struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(c->fd, (struct sockaddr *)&there, sizeof there) != 0) {
    perror("connect");
    exit(1);
  }
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
  c->got = 0, c->busy = 0;
}

static void ask(connection *c, uint64_t due) {
  char request[REQUEST_BYTES], target[1024], content[2048];
  long n = first + atomic_fetch_add(&counter, 1) % modulus;
  fill(target, path, n);
  int length = fill(content, body, n);
  int size = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s", method, target, header,
                      *header == 0 ? "" : "\r\n");
  if (length > 0)
    size += snprintf(request + size, sizeof request - (size_t)size,
                     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", length, content);
  else
    size += snprintf(request + size, sizeof request - (size_t)size, "\r\n");
  c->due = due, c->busy = 1, c->got = 0;
  if (send(c->fd, request, (size_t)size, MSG_NOSIGNAL) != size) c->busy = -1;
}

// The answer's length once it is all there, 0 before, -1 when it cannot be understood.
static int whole(connection *c) {
  c->in[c->got] = 0;
  char *end = strstr(c->in, "\r\n\r\n");
  if (end == NULL) return c->got >= ANSWER_BYTES - 1 ? -1 : 0;
  int head = (int)(end - c->in) + 4;
  if (strncmp(c->in + 9, "204", 3) == 0 || strncmp(c->in + 9, "304", 3) == 0) return head;
  char *length = strcasestr(c->in, "\r\ncontent-length:");
  if (length != NULL && length < end) {
    int all = head + atoi(length + 17);
    return all >= ANSWER_BYTES ? -1 : c->got >= all ? all : 0;
  }
  return c->got >= head + 5 && memcmp(c->in + c->got - 5, "0\r\n\r\n", 5) == 0 ? c->got : 0;
}

static void *run(void *argument) {
  worker *self = argument;
  int mine = connections / threads + (self->id < connections % threads), epoll = epoll_create1(0);
  connection *all = calloc((size_t)mine, sizeof *all);
  for (int i = 0; i < mine; i++) dial(&all[i], epoll);
  uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
  double gap = rate > 0 ? 1e9 * threads / rate : 0, next = (double)now_ns();
  int free_from = 0;
  if (rate == 0)
    for (int i = 0; i < mine; i++) ask(&all[i], now_ns());
  struct epoll_event events[256];
  for (;;) {
    uint64_t now = now_ns();
    if (now >= end) break;
    for (int tried = 0; rate > 0 && next <= (double)now && tried < mine; tried++) {
      connection *c = &all[free_from++ % mine];
      if (c->busy) continue;
      ask(c, (uint64_t)next);
      next += gap;
    }
    int count = epoll_wait(epoll, events, 256, rate > 0 ? 1 : 50);
    now = now_ns();
    for (int i = 0; i < count; i++) {
      connection *c = events[i].data.ptr;
      ssize_t got = recv(c->fd, c->in + c->got, (size_t)(ANSWER_BYTES - 1 - c->got), MSG_DONTWAIT);
      if (got > 0) c->got += (int)got;
      int done = got <= 0 ? (got < 0 && errno == EAGAIN ? 0 : -1) : whole(c);
      if (done == 0) continue;
      if (done < 0) {
        self->errors++;
        close(c->fd);
        dial(c, epoll);
      } else {
        record(&self->latency, now - c->due);
        self->answered++;
        int class = c->in[9] - '0';
        self->status[class >= 1 && class <= 5 ? class : 0]++;
        c->busy = 0;
      }
      if (rate == 0) ask(c, now);
    }
  }
  return NULL;
}

int main(int count, char **values) {
  port = (int)number(count, values, "--port", 8880);
  connections = (int)number(count, values, "--connections", 32);
  threads = (int)number(count, values, "--threads", 1);
  seconds = (double)number(count, values, "--milliseconds", 5000) / 1000;
  rate = (double)number(count, values, "--rate", 0);
  first = number(count, values, "--first", 1);
  modulus = number(count, values, "--count", 1);
  modules = number(count, values, "--modules", 1);
  method = option(count, values, "--method", "GET");
  path = option(count, values, "--path", "/healthz");
  body = option(count, values, "--body", "");
  header = option(count, values, "--header", "");
  if (strlen(path) > 900 || strlen(body) > 1800 || strlen(header) > 900 || threads < 1 || threads > 64) {
    fprintf(stderr, "allowed: --path and --header up to 900 bytes, --body up to 1800, --threads 1..64\n");
    return 2;
  }
  pthread_t running[64];
  worker *workers = calloc((size_t)threads, sizeof *workers);
  for (int i = 0; i < threads; i++) {
    workers[i].id = i;
    pthread_create(&running[i], NULL, run, &workers[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(running[i], NULL);
  worker *all = &workers[0];
  for (int i = 1; i < threads; i++) {
    merge(&all->latency, &workers[i].latency);
    all->answered += workers[i].answered, all->errors += workers[i].errors;
    for (int j = 0; j < 6; j++) all->status[j] += workers[i].status[j];
  }
  printf("{\"perSecond\":%.0f,\"answered\":%lu,\"errors\":%lu,\"ok\":%lu,\"redirects\":%lu,\"refused\":%lu,"
         "\"failed\":%lu,",
         (double)all->answered / seconds, all->answered, all->errors, all->status[2], all->status[3], all->status[4],
         all->status[5]);
  print_latency(&all->latency);
  printf("}\n");
}
