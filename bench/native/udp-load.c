// Callers of an agent over UDP: get_host, and a report for every host that was given.
//
// Closed loop (--window W): each thread keeps W requests in flight, which finds out how fast the agent can be. Open loop
// (--rate R): requests leave at their times whatever the agent does, and an answer's latency counts from when its request
// was due, so that a stall is seen by all the calls it delayed and not by one. Where more is to be sent than this program
// can send, that would measure this program: --from-sent 1 counts from when a request left. Batches with sendmmsg and
// recvmmsg.
//
//   udp-load --port 8888 --shards 3 --threads 3 --window 8 --seconds 5 --modules 60 [--rate 50000] [--report 0]
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "measure.h"

#define MAX_WINDOW 1024
#define RECEIVED 256
#define SLOTS 65536
#define LOST_NS 1000000000ull
#define MOMENT_NS 100000

static int base_port, shards, threads, window, modules, reports, from_sent;
static double rate, seconds;

typedef struct {
  int id;
  // `lost`: not answered within a second; `late`: answered after that.
  uint64_t sent, answered, reported, lost, late, retcodes[4], wrong;
  histogram latency;
} worker;

static int next_module(int *at, int shard) {
  do *at = *at % modules + 1;
  while ((*at + 1) % shards != shard);
  return *at;
}

static void *run(void *argument) {
  worker *self = argument;
  prctl(PR_SET_TIMERSLACK, 1000);
  int shard = self->id % shards, size = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(base_port + shard))};
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (struct sockaddr *)&there, sizeof there) != 0) {
    perror("connect");
    exit(1);
  }
  static __thread uint8_t out[2 * MAX_WINDOW][96], in[RECEIVED][2048];
  static __thread struct mmsghdr out_messages[2 * MAX_WINDOW], in_messages[RECEIVED];
  static __thread struct iovec out_parts[2 * MAX_WINDOW], in_parts[RECEIVED];
  for (int i = 0; i < RECEIVED; i++) {
    in_parts[i] = (struct iovec){in[i], sizeof in[i]};
    in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1};
  }
  for (int i = 0; i < 2 * MAX_WINDOW; i++) {
    out_parts[i].iov_base = out[i];
    out_messages[i].msg_hdr = (struct msghdr){.msg_iov = &out_parts[i], .msg_iovlen = 1};
  }
  // When the request with this sequence number was due; 0: answered, or none.
  uint64_t *due = calloc(SLOTS, 8);
  uint32_t seq = 1, oldest = 1;
  int in_flight = 0, module = 0;
  uint64_t started = now_ns(), end = started + (uint64_t)(seconds * 1e9);
  double gap = rate > 0 ? 1e9 * threads / rate : 0, next = (double)started + gap * self->id / threads;
  for (;;) {
    uint64_t now = now_ns();
    if (now >= end) break;
    int batch = 0;
    int received = recvmmsg(fd, in_messages, RECEIVED, MSG_DONTWAIT, NULL);
    if (received > 0) now = now_ns();
    for (int i = 0; i < received; i++) {
      host_answer answer;
      if (!read_host_answer(in[i], (int)in_messages[i].msg_len, &answer)) {
        self->wrong++;
        continue;
      }
      if (due[answer.seq % SLOTS] == 0) {
        self->late++;
        continue;
      }
      record(&self->latency, now - due[answer.seq % SLOTS]);
      due[answer.seq % SLOTS] = 0;
      in_flight--;
      self->answered++;
      self->retcodes[answer.retcode & 3]++;
      if (!reports || answer.retcode != 0 || answer.host == NULL || batch >= MAX_WINDOW) continue;
      out_parts[batch].iov_len = (size_t)put_report(out[batch], answer.modid, answer.cmdid, answer.host,
                                                    answer.host_length, 1000 + answer.seq % 512);
      batch++;
      self->reported++;
    }
    while (batch < 2 * MAX_WINDOW) {
      if (rate > 0 ? next > (double)now : in_flight >= window) break;
      if (due[seq % SLOTS] != 0) break;
      out_parts[batch].iov_len = (size_t)put_get_host(out[batch], seq, next_module(&module, shard), 1);
      due[seq % SLOTS] = rate > 0 && !from_sent ? (uint64_t)next : now;
      next += gap;
      seq++, batch++, in_flight++;
      self->sent++;
    }
    for (int sent = 0; sent < batch;) {
      int some = sendmmsg(fd, out_messages + sent, (unsigned)(batch - sent), 0);
      if (some < 0) {
        if (errno == ECONNREFUSED || errno == EINTR || errno == EAGAIN) continue;
        perror("sendmmsg");
        exit(1);
      }
      sent += some;
    }
    while (oldest != seq && (due[oldest % SLOTS] == 0 || now - due[oldest % SLOTS] > LOST_NS)) {
      if (due[oldest % SLOTS] != 0) self->lost++, in_flight--, due[oldest % SLOTS] = 0;
      oldest++;
    }
    if (rate == 0 && (received > 0 || batch > 0)) continue;
    struct timespec wait = {0, 50000000};
    if (rate > 0) {
      double left = next - (double)now_ns();
      // What is due within a moment leaves together, or the generator would need the processor it is to leave to the agent.
      wait.tv_nsec = left < MOMENT_NS ? MOMENT_NS : left > 5e7 ? 50000000 : (long)left;
    }
    struct pollfd polled = {fd, POLLIN, 0};
    ppoll(&polled, 1, &wait, NULL);
  }
  return NULL;
}

int main(int count, char **values) {
  base_port = (int)number(count, values, "--port", 8888);
  shards = (int)number(count, values, "--shards", 3);
  threads = (int)number(count, values, "--threads", 3);
  window = (int)number(count, values, "--window", 8);
  modules = (int)number(count, values, "--modules", 60);
  reports = (int)number(count, values, "--report", 1);
  from_sent = (int)number(count, values, "--from-sent", 0);
  rate = (double)number(count, values, "--rate", 0);
  seconds = (double)number(count, values, "--milliseconds", 5000) / 1000;
  if (window < 1 || window > MAX_WINDOW || threads < 1 || threads > 64 || modules < shards) {
    fprintf(stderr, "allowed: --window 1..%d, --threads 1..64, --modules at least as many as shards\n", MAX_WINDOW);
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
    all->sent += workers[i].sent, all->answered += workers[i].answered, all->reported += workers[i].reported;
    all->lost += workers[i].lost, all->wrong += workers[i].wrong, all->late += workers[i].late;
    for (int j = 0; j < 4; j++) all->retcodes[j] += workers[i].retcodes[j];
  }
  printf("{\"perSecond\":%.0f,\"sent\":%lu,\"answered\":%lu,\"reported\":%lu,\"lost\":%lu,\"late\":%lu,\"wrong\":%lu,"
         "\"ok\":%lu,\"overload\":%lu,\"systemError\":%lu,\"noModule\":%lu,",
         (double)all->answered / seconds, all->sent, all->answered, all->reported, all->lost, all->late, all->wrong,
         all->retcodes[0], all->retcodes[1], all->retcodes[2], all->retcodes[3]);
  print_latency(&all->latency);
  printf("}\n");
}
